/* SHA-256 (FIPS 180-4): of one message, and of many at once by whatever vectors the machine has.
 *
 * There is no path for the SHA extensions of x86 and ARM yet. On a Xeon that has them a block takes 24 ns by them and 22
 * in the lanes of AVX-512; in those of AVX2 it takes 49. */
#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

const uint32_t sha256_initial[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* Take these blocks into the state, one after the other. */
void sha256_compress(uint32_t state[8], const uint8_t *blocks, uint64_t count) {
    for (; count; count--, blocks += BLOCK_BYTES) {
        uint32_t w[64], s[8];
        for (int i = 0; i < 16; i++) {
            w[i] = __builtin_bswap32(load32(blocks + 4 * i));
        }
        for (int i = 16; i < 64; i++) {
            uint32_t early = w[i - 15], late = w[i - 2];
            w[i] = w[i - 16] + w[i - 7] + (rotated(early, 7) ^ rotated(early, 18) ^ early >> 3)
                 + (rotated(late, 17) ^ rotated(late, 19) ^ late >> 10);
        }
        memcpy(s, state, sizeof s);
#pragma GCC unroll 8
        for (int i = 0; i < 64; i++) {
            uint32_t sum = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25))
                         + (s[6] ^ (s[4] & (s[5] ^ s[6]))) + sha256_constants[i] + w[i];
            uint32_t other = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22))
                           + ((s[0] & s[1]) | (s[2] & (s[0] | s[1])));
            s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + sum;
            s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = sum + other;
        }
        for (int i = 0; i < 8; i++) {
            state[i] += s[i];
        }
    }
}

void sha256_digest(const uint32_t state[8], uint8_t digest[DIGEST_BYTES]) {
    for (int i = 0; i < 8; i++) {
        store32(digest + 4 * i, state[i]);
    }
}

/* Pad a message that begins at a whole number of blocks, `before` bytes after the very first; give its end.
 * At most 72 bytes are written behind it (FIPS 180-4, section 5.1.1). */
uint8_t *sha256_pad(uint8_t *end, uint8_t *start, uint64_t before) {
    uint64_t bytes = (uint64_t)(end - start), padded = (bytes + 9 + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    *end = 0x80;
    memset(end + 1, 0, BLOCK_BYTES); /* as many as ever, so that it is no call; the length is written over them */
    store64(start + padded - 8, 8 * (before + bytes));
    return start + padded;
}

#define LANES 4
#define NAME(x) baseline_##x
#include "lanes.h"

#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx2")
#define LANES 8
#define NAME(x) avx2_##x
#include "lanes.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f")
#define LANES 16
#define NAME(x) avx512_##x
#define TERNARY(a, b, c, table) ((avx512_vector)_mm512_ternarylogic_epi32((__m512i)(a), (__m512i)(b), (__m512i)(c), table))
#define ROTATE(x, n) ((avx512_vector)_mm512_ror_epi32((__m512i)(x), n))
#define CHOOSE(e, f, g) TERNARY(e, f, g, 0xca)
#define MAJORITY(a, b, c) TERNARY(a, b, c, 0xe8)
#define XOR3(a, b, c) TERNARY(a, b, c, 0x96)
#include "lanes.h"
#pragma GCC pop_options

#endif

/* Whether this machine has an instruction set. */
int cenotaph_level(int level) {
    switch (level) {
    case SCALAR:
    case BASELINE:
        return 1;
#if defined(__x86_64__)
    case AVX2:
        return __builtin_cpu_supports("avx2") != 0;
    case AVX512:
        return __builtin_cpu_supports("avx512f") != 0;
#endif
    default:
        return 0;
    }
}

enum { SORTED_AT_ONCE = 1024, MOST_BLOCKS = 512 };

static void hash_group(int level, const uint32_t start[8], const message *const *messages, size_t count) {
    switch (count > 1 ? level : SCALAR) {
#if defined(__x86_64__)
    case AVX512:
        avx512_all(start, messages, count);
        return;
    case AVX2:
        avx2_all(start, messages, count);
        return;
#endif
    case BASELINE:
        baseline_all(start, messages, count);
        return;
    default:
        for (size_t i = 0; i < count; i++) {
            uint32_t state[8];
            memcpy(state, start, sizeof state);
            sha256_compress(state, messages[i]->at, messages[i]->blocks);
            sha256_digest(state, messages[i]->digest);
        }
    }
}

/* Write the digest of each message, from this state on. Lanes are filled with messages of like length: sorted
 * by their blocks, the longest first, so many at a time. */
void sha256_many(int level, const uint32_t start[8], message *messages, size_t count) {
    for (size_t done = 0; done < count; done += SORTED_AT_ONCE) {
        const message *sorted[SORTED_AT_ONCE];
        uint32_t places[MOST_BLOCKS + 2];
        size_t some = count - done < SORTED_AT_ONCE ? count - done : SORTED_AT_ONCE;
        int longer = 0, alike = 1;
        for (size_t i = 0; i < some; i++) {
            sorted[i] = &messages[done + i];
            alike &= sorted[i]->blocks == messages[done].blocks;
        }
        if (alike) { /* nearly always: rows of one table */
            hash_group(level, start, sorted, some);
            continue;
        }
        memset(places, 0, sizeof places);
        for (size_t i = 0; i < some; i++) {
            uint64_t blocks = messages[done + i].blocks;
            longer |= blocks > MOST_BLOCKS;
            places[blocks > MOST_BLOCKS ? 0 : MOST_BLOCKS - blocks + 1]++;
        }
        for (uint32_t i = 0, sum = 0; i < MOST_BLOCKS + 2; i++) {
            uint32_t here = places[i];
            places[i] = sum;
            sum += here;
        }
        for (size_t i = 0; i < some; i++) {
            uint64_t blocks = messages[done + i].blocks;
            sorted[places[blocks > MOST_BLOCKS ? 0 : MOST_BLOCKS - blocks + 1]++] = &messages[done + i];
        }
        for (size_t i = 1; longer && i < some && sorted[i]->blocks > MOST_BLOCKS; i++) { /* few, and seldom */
            for (size_t j = i; j && sorted[j]->blocks > sorted[j - 1]->blocks; j--) {
                const message *other = sorted[j];
                sorted[j] = sorted[j - 1];
                sorted[j - 1] = other;
            }
        }
        hash_group(level, start, sorted, some);
    }
}
