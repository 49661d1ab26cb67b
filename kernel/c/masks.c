/* Which bytes of a strip lie in a range, on each instruction set. */
#include "masks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static void scalar_masks(const uint8_t *data, const byte_range *ranges, size_t count, uint64_t (*masks)[STRIP_WORDS]) {
    for (size_t i = 0; i < count; i++) {
        for (int word = 0; word < STRIP_WORDS; word++) {
            uint64_t mask = 0;
            for (int bit = 0; bit < WORD_BYTES; bit++) {
                uint8_t above = (uint8_t)(data[WORD_BYTES * word + bit] - ranges[i].low);
                mask |= (uint64_t)(above <= ranges[i].span) << bit;
            }
            masks[i][word] = mask;
        }
    }
}

#if defined(__x86_64__)

static void baseline_masks(const uint8_t *data, const byte_range *ranges, size_t count, uint64_t (*masks)[STRIP_WORDS]) {
    for (size_t i = 0; i < count; i++) {
        __m128i low = _mm_set1_epi8((char)ranges[i].low), span = _mm_set1_epi8((char)ranges[i].span);
        for (int word = 0; word < STRIP_WORDS; word++) {
            uint64_t mask = 0;
            for (int part = 0; part < 4; part++) {
                __m128i bytes = _mm_loadu_si128((const __m128i *)(data + WORD_BYTES * word + 16 * part));
                __m128i above = _mm_sub_epi8(bytes, low);
                __m128i inside = _mm_cmpeq_epi8(_mm_min_epu8(above, span), above);
                mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(inside) << (16 * part);
            }
            masks[i][word] = mask;
        }
    }
}

__attribute__((target("avx2"))) static void avx2_masks(const uint8_t *data, const byte_range *ranges, size_t count,
                                                       uint64_t (*masks)[STRIP_WORDS]) {
    for (size_t i = 0; i < count; i++) {
        __m256i low = _mm256_set1_epi8((char)ranges[i].low), span = _mm256_set1_epi8((char)ranges[i].span);
        for (int word = 0; word < STRIP_WORDS; word++) {
            uint64_t mask = 0;
            for (int part = 0; part < 2; part++) {
                __m256i bytes = _mm256_loadu_si256((const __m256i *)(data + WORD_BYTES * word + 32 * part));
                __m256i above = _mm256_sub_epi8(bytes, low);
                __m256i inside = _mm256_cmpeq_epi8(_mm256_min_epu8(above, span), above);
                mask |= (uint64_t)(uint32_t)_mm256_movemask_epi8(inside) << (32 * part);
            }
            masks[i][word] = mask;
        }
    }
}

__attribute__((target("avx512f,avx512bw"))) static void avx512_masks(const uint8_t *data, const byte_range *ranges,
                                                                     size_t count, uint64_t (*masks)[STRIP_WORDS]) {
    for (size_t i = 0; i < count; i++) {
        __m512i low = _mm512_set1_epi8((char)ranges[i].low), span = _mm512_set1_epi8((char)ranges[i].span);
        for (int word = 0; word < STRIP_WORDS; word++) {
            __m512i bytes = _mm512_loadu_si512(data + WORD_BYTES * word);
            masks[i][word] = _mm512_cmple_epu8_mask(_mm512_sub_epi8(bytes, low), span);
        }
    }
}

#endif

/* There are machines with AVX-512 that have it for words and not for bytes: these do with AVX2. */
masks_of *masks_at(int level) {
#if defined(__x86_64__)
    if (level == AVX512) {
        return __builtin_cpu_supports("avx512bw") ? avx512_masks : avx2_masks;
    }
    if (level == AVX2) {
        return avx2_masks;
    }
    if (level == BASELINE) {
        return baseline_masks;
    }
#endif
    (void)level;
    return scalar_masks;
}

static uint64_t any_of(const uint8_t *data, size_t bytes) {
    uint64_t some[8] = {0};
    for (size_t at = 0; at < bytes; at += WORD_BYTES) {
        for (int i = 0; i < 8; i++) {
            some[i] |= load64(data + at + 8 * (size_t)i);
        }
    }
    return some[0] | some[1] | some[2] | some[3] | some[4] | some[5] | some[6] | some[7];
}

/* Where a strip's bytes are, zeros behind the last; 0 where all of them are zeros. */
int strip_at(const uint8_t *data, int64_t size, int64_t at, uint8_t room[STRIP_WORDS * WORD_BYTES], const uint8_t **strip) {
    enum { BYTES = STRIP_WORDS * WORD_BYTES };
    *strip = data + at;
    if (size - at < BYTES) {
        memset(room, 0, BYTES);
        memcpy(room, data + at, (size_t)(size - at));
        *strip = room;
    }
    return any_of(*strip, WORD_BYTES) || any_of(*strip + WORD_BYTES, BYTES - WORD_BYTES);
}
