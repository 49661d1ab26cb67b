/* Where something begins that is known by its first bytes, and what is nothing but zeros. */
#include "masks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* For each of the first three bytes, by either half of it: a bit for each group of magics that may begin so. */
typedef struct {
    uint8_t halves[3][2][16];
} groups;

static groups grouped(const uint8_t *magics, const uint8_t *lengths, size_t count) {
    groups g = {0};
    for (size_t i = 0; i < count; i++) {
        uint8_t bit = (uint8_t)(1 << (i & 7));
        for (int place = 0; place < 3; place++) {
            int byte = magics[16 * i + (size_t)place], any = place >= lengths[i];
            for (int half = 0; half < 16; half++) {
                g.halves[place][0][half] |= any || half == (byte & 15) ? bit : 0;
                g.halves[place][1][half] |= any || half == byte >> 4 ? bit : 0;
            }
        }
    }
    return g;
}

typedef uint64_t likely_of(const uint8_t *data, const groups *g);

/* Which of 64 places may begin a magic; two bytes behind them are read. */
static uint64_t scalar_likely(const uint8_t *data, const groups *g) {
    uint64_t mask = 0;
    for (int i = 0; i < WORD_BYTES; i++) {
        uint8_t some = 255;
        for (int place = 0; place < 3; place++) {
            uint8_t byte = data[i + place];
            some &= g->halves[place][0][byte & 15] & g->halves[place][1][byte >> 4];
        }
        mask |= (uint64_t)(some != 0) << i;
    }
    return mask;
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) static uint64_t avx2_likely(const uint8_t *data, const groups *g) {
    const __m256i half = _mm256_set1_epi8(15);
    uint64_t mask = 0;
    for (int part = 0; part < 2; part++) {
        __m256i some = _mm256_set1_epi8(-1);
        for (int place = 0; place < 3; place++) {
            __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)g->halves[place][0]));
            __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)g->halves[place][1]));
            __m256i bytes = _mm256_loadu_si256((const __m256i *)(data + 32 * part + place));
            some = _mm256_and_si256(some, _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, half)));
            some = _mm256_and_si256(some, _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half)));
        }
        __m256i none = _mm256_cmpeq_epi8(some, _mm256_setzero_si256());
        mask |= (uint64_t)(uint32_t)~_mm256_movemask_epi8(none) << (32 * part);
    }
    return mask;
}

__attribute__((target("avx512f,avx512bw"))) static uint64_t avx512_likely(const uint8_t *data, const groups *g) {
    const __m512i half = _mm512_set1_epi8(15);
    __m512i some = _mm512_set1_epi8(-1);
    for (int place = 0; place < 3; place++) {
        __m512i low = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)g->halves[place][0]));
        __m512i high = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)g->halves[place][1]));
        __m512i bytes = _mm512_loadu_si512(data + place);
        some = _mm512_and_si512(some, _mm512_shuffle_epi8(low, _mm512_and_si512(bytes, half)));
        some = _mm512_and_si512(some, _mm512_shuffle_epi8(high, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), half)));
    }
    return _mm512_test_epi8_mask(some, some);
}

#endif

static likely_of *likely_at(int level) {
#if defined(__x86_64__)
    if (level == AVX512 && __builtin_cpu_supports("avx512bw")) {
        return avx512_likely;
    }
    if (level >= AVX2) {
        return avx2_likely;
    }
#endif
    (void)level;
    return scalar_likely;
}

/* Places below `core` where one of the magics begins, and which, in order. A magic takes 16 bytes of `magics`, of which
 * `lengths` says how many count, two at least; of them there are 256 at most. Returns how many places there are; those beyond
 * `room` are only counted. */
size_t cenotaph_magics(int level, const uint8_t *data, size_t size, size_t core, const uint8_t *magics, const uint8_t *lengths,
                       size_t count, int64_t *places, uint8_t *which, size_t room) {
    uint16_t first[256] = {0}, next[256]; /* by byte, the first magic that begins with it, and the next one, counted from 1 */
    groups g = grouped(magics, lengths, count);
    for (size_t i = count; i > 0; i--) {
        next[i - 1] = first[magics[16 * (i - 1)]];
        first[magics[16 * (i - 1)]] = (uint16_t)i;
    }
    likely_of *likely = likely_at(level);
    uint8_t padded[WORD_BYTES + 2];
    size_t found = 0;
    core = core < size ? core : size;
    for (size_t at = 0; at < core; at += WORD_BYTES) {
        const uint8_t *here = data + at;
        if (size - at < sizeof padded) {
            memset(padded, 0, sizeof padded);
            memcpy(padded, here, size - at);
            here = padded;
        }
        for (uint64_t mask = likely(here, &g); mask;) {
            int bit = next_bit(&mask);
            size_t place = at + (size_t)bit;
            for (size_t nth = first[here[bit]]; nth && place < core; nth = next[nth - 1]) {
                size_t i = nth - 1;
                if (lengths[i] <= size - place && !memcmp(data + place, magics + 16 * i, lengths[i])) {
                    if (found < room) {
                        places[found] = (int64_t)place;
                        which[found] = (uint8_t)i;
                    }
                    found++;
                }
            }
        }
    }
    return found;
}

/* For each whole tile of so many bytes, a multiple of 64, whether any of them is not zero. */
void cenotaph_full(const uint8_t *data, size_t tiles, size_t bytes, uint8_t *full) {
    for (size_t i = 0; i < tiles; i++, data += bytes) {
        uint64_t some = 0;
        for (size_t at = 0; at < bytes && !some; at += WORD_BYTES) {
            uint64_t words[8];
            memcpy(words, data + at, sizeof words);
            some = words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7];
        }
        full[i] = some != 0;
    }
}

static inline __attribute__((always_inline)) size_t words_at(const uint8_t *data, size_t count, const int width, uint64_t mask,
                                                             uint64_t value, int64_t *places, size_t room) {
    enum { AT_ONCE = 64 };
    size_t found = 0, bytes = (size_t)width;
    for (size_t first = 0; first < count; first += AT_ONCE) {
        size_t most = count - first < AT_ONCE ? count - first : AT_ONCE;
        const uint8_t *at = data + bytes * first;
        if (most == AT_ONCE) {
            uint64_t some = 0;
            uint32_t some_narrow = 0;
            for (size_t i = 0; i < AT_ONCE; i++) {
                if (width == 4) {
                    some_narrow |= (load32(at + 4 * i) & (uint32_t)mask) == (uint32_t)value;
                } else {
                    some |= (load64(at + 8 * i) & mask) == value;
                }
            }
            if (!some && !some_narrow) {
                continue;
            }
        }
        for (size_t i = 0; i < most; i++) {
            uint64_t word = width == 4 ? load32(at + 4 * i) : load64(at + 8 * i);
            if ((word & mask) == value) {
                if (found < room) {
                    places[found] = (int64_t)(first + i);
                }
                found++;
            }
        }
    }
    return found;
}

static size_t baseline_words(const uint8_t *data, size_t count, int width, uint64_t mask, uint64_t value, int64_t *places,
                             size_t room) {
    return width == 4 ? words_at(data, count, 4, mask, value, places, room) : words_at(data, count, 8, mask, value, places, room);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static size_t avx2_words(const uint8_t *data, size_t count, int width, uint64_t mask,
                                                         uint64_t value, int64_t *places, size_t room) {
    return width == 4 ? words_at(data, count, 4, mask, value, places, room) : words_at(data, count, 8, mask, value, places, room);
}
#endif

/* The ordinals of the words of 4 or 8 bytes that have this value under a mask. Returns how many there are; those beyond
 * `room` are only counted. */
size_t cenotaph_words(int level, const uint8_t *data, size_t count, int width, uint64_t mask, uint64_t value, int64_t *places,
                      size_t room) {
#if defined(__x86_64__)
    if (level >= AVX2) {
        return avx2_words(data, count, width, mask, value, places, room);
    }
#endif
    (void)level;
    return baseline_words(data, count, width, mask, value, places, room);
}
