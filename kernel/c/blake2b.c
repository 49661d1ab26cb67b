/* Keyed BLAKE2b of 8 bytes (RFC 7693), of many short messages under one key.
 *
 * The key is a message's first block, so that the state behind it is the same for all of them; what fits one
 * more block is hashed side by side. */
#include "blake2b.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const uint64_t blake2b_initial[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t blake2b_order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t rotated(uint64_t x, int n) { return x >> n | x << (64 - n); }

static void compress(uint64_t state[8], const uint8_t block[BLAKE2B_BLOCK], uint64_t total, int last) {
    uint64_t m[16], v[16];
    for (int i = 0; i < 16; i++) {
        m[i] = load64(block + 8 * i);
    }
    for (int i = 0; i < 8; i++) {
        v[i] = state[i];
        v[i + 8] = blake2b_initial[i];
    }
    v[12] ^= total;
    v[14] = last ? ~v[14] : v[14];
    for (int round = 0; round < 12; round++) {
        const uint8_t *s = blake2b_order[round % 10];
        for (int i = 0; i < 8; i++) {
            int turn = i >> 2, column = i & 3;
            uint64_t *a = &v[column], *b = &v[4 + ((column + turn) & 3)];
            uint64_t *c = &v[8 + ((column + 2 * turn) & 3)], *d = &v[12 + ((column + 3 * turn) & 3)];
            *a += *b + m[s[2 * i]];
            *d = rotated(*d ^ *a, 32);
            *c += *d;
            *b = rotated(*b ^ *c, 24);
            *a += *b + m[s[2 * i + 1]];
            *d = rotated(*d ^ *a, 16);
            *c += *d;
            *b = rotated(*b ^ *c, 63);
        }
    }
    for (int i = 0; i < 8; i++) {
        state[i] ^= v[i] ^ v[i + 8];
    }
}

/* The state that this key of 32 bytes begins with, and the one behind its block. */
void blake2b_keyed(const uint8_t key[32], const uint8_t person[16], uint64_t start[8], uint64_t state[8]) {
    uint8_t block[BLAKE2B_BLOCK] = {0};
    memcpy(start, blake2b_initial, sizeof blake2b_initial);
    start[0] ^= 0x01010000 ^ 32 << 8 ^ 8; /* one leaf, one deep; the lengths of key and digest */
    start[6] ^= load64(person);
    start[7] ^= load64(person + 8);
    memcpy(block, key, 32);
    memcpy(state, start, 8 * sizeof *start);
    compress(state, block, BLAKE2B_BLOCK, 0);
}

/* The digest of one message of any length, as a little-endian number. */
uint64_t blake2b_word(const uint64_t start[8], const uint64_t state[8], const uint8_t key[32], const uint8_t *data,
                      uint64_t bytes) {
    uint64_t s[8], total = BLAKE2B_BLOCK;
    uint8_t block[BLAKE2B_BLOCK] = {0};
    if (!bytes) { /* then the key's block is the last */
        memcpy(s, start, sizeof s);
        memcpy(block, key, 32);
        compress(s, block, total, 1);
        return s[0];
    }
    memcpy(s, state, sizeof s);
    for (; bytes > BLAKE2B_BLOCK; data += BLAKE2B_BLOCK, bytes -= BLAKE2B_BLOCK) {
        compress(s, data, total += BLAKE2B_BLOCK, 0);
    }
    memcpy(block, data, bytes);
    compress(s, block, total + bytes, 1);
    return s[0];
}

#define LANES 2
#define NAME(x) baseline_##x
#include "blake2b_lanes.h"

#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx2")
#define LANES 4
#define NAME(x) avx2_##x
#include "blake2b_lanes.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f")
#define LANES 8
#define NAME(x) avx512_##x
#define ROTATE(x, n) ((avx512_vector)_mm512_ror_epi64((__m512i)(x), n))
#include "blake2b_lanes.h"
#pragma GCC pop_options

#endif

static void last_block(const uint64_t state[8], const uint8_t block[BLAKE2B_BLOCK], uint8_t bytes, uint64_t *word) {
    uint64_t s[8];
    memcpy(s, state, sizeof s);
    compress(s, block, BLAKE2B_BLOCK + (uint64_t)bytes, 1);
    *word = s[0];
}

/* The digests of messages of 1 to 128 bytes, padded with zeros. There must be room for BLAKE2B_AT_ONCE - 1
 * more blocks and words than are counted: what is there is read and written, and means nothing. */
void blake2b_words(int level, const uint64_t state[8], const uint8_t (*blocks)[BLAKE2B_BLOCK], const uint8_t *bytes,
                   size_t count, uint64_t *words) {
    for (size_t i = 0; i < count;) {
        switch (level) {
#if defined(__x86_64__)
        case AVX512:
            avx512_last(state, blocks + i, bytes + i, words + i);
            i += 8;
            break;
        case AVX2:
            avx2_last(state, blocks + i, bytes + i, words + i);
            i += 4;
            break;
#endif
        case BASELINE:
            baseline_last(state, blocks + i, bytes + i, words + i);
            i += 2;
            break;
        default:
            last_block(state, blocks[i], bytes[i], words + i);
            i++;
        }
    }
}
