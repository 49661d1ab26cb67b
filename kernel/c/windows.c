/* The search for windows of forms (cenotaph.residue.needles, whose filter this walks; the walk in numpy is the
 * reference): every place by one multiplication and one bit, the few that pass by class. */
#include "masks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CLASSES = 4, SLOT_BITS = 26, MANY = 2 }; /* MANY: in a filter, several windows; else an odd tag */
enum { FIRST, SECOND, MIXER, NARROW, SHORT, SLOTS };
enum { SIXTEEN = 16, EIGHT = 8, SIX = 6 };

typedef struct {
    const uint8_t *data;
    int64_t size, lead, core, found, room;
    int64_t *places;
} finder;

static uint64_t tag_of(const uint64_t *secrets, const uint8_t *window, int width) {
    uint64_t words[2] = {0, 0}, spread;
    memcpy(words, window, (size_t)width);
    if (width == SIXTEEN) {
        spread = words[0] * secrets[FIRST] + words[1] * secrets[SECOND];
    } else {
        spread = words[0] * secrets[width == EIGHT ? NARROW : SHORT];
    }
    uint64_t mixed = (spread ^ spread >> 29) * secrets[MIXER];
    return (spread >> (64 - SLOT_BITS) << (64 - SLOT_BITS)) | mixed >> SLOT_BITS;
}

/* The forms that may lie around a window of this class that begins at `at`. */
static void around(finder *f, const windows *w, const uint64_t *secrets, int64_t at) {
    if (!w->count || at < 0 || at + w->width > f->size) {
        return;
    }
    uint64_t tag = tag_of(secrets, f->data + at, w->width);
    uint8_t mark = w->filter[tag >> w->shift];
    if (mark != (uint8_t)(tag | 1) && mark != MANY) {
        return;
    }
    int64_t low = 0, high = w->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (w->tags[middle] < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == w->count || w->tags[low] != tag) {
        return;
    }
    for (int64_t i = w->begin[low]; i < w->begin[low + 1]; i++) {
        int64_t start = at - w->window[i];
        if (start >= f->lead && start < f->core && start + w->length[i] <= f->size) {
            if (f->found < f->room) {
                f->places[f->found] = start << 16 | w->length[i];
            }
            f->found++;
        }
    }
}

/* Which of 64 places have six bytes that the filter knows; eight bytes are read at each. */
typedef uint64_t passing_of(const uint8_t *bits, int shift, uint64_t secret, const uint8_t *data);

static inline uint64_t slot_of(uint64_t word, uint64_t secret, int shift) { return (word << 16 >> 16) * secret >> shift; }

static inline int is_set(const uint8_t *bits, uint64_t slot) { return bits[slot >> 3] >> (slot & 7) & 1; }

static uint64_t plain_passing(const uint8_t *bits, int shift, uint64_t secret, const uint8_t *data) {
    uint64_t mask = 0;
    for (int i = 0; i < WORD_BYTES; i++) {
        mask |= (uint64_t)is_set(bits, slot_of(load64(data + i), secret, shift)) << i;
    }
    return mask;
}

#if defined(__x86_64__)
/* Eight at once. The filter has whole words of 32 bits. */
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) static uint64_t avx512_passing(const uint8_t *bits, int shift,
                                                                                         uint64_t secret, const uint8_t *data) {
    const __m512i sixes = _mm512_set_epi8(-1, -1, 12, 11, 10, 9, 8, 7, -1, -1, 11, 10, 9, 8, 7, 6, -1, -1, 10, 9, 8, 7, 6, 5, -1, -1, 9, 8,
                                          7, 6, 5, 4, -1, -1, 8, 7, 6, 5, 4, 3, -1, -1, 7, 6, 5, 4, 3, 2, -1, -1, 6, 5, 4, 3, 2, 1,
                                          -1, -1, 5, 4, 3, 2, 1, 0);
    const __m512i multiplier = _mm512_set1_epi64((long long)secret);
    const __m128i down = _mm_cvtsi32_si128(shift);
    uint64_t mask = 0;
    for (int part = 0; part < 8; part++) {
        __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(data + 8 * part)));
        __m512i product = _mm512_mullo_epi64(_mm512_shuffle_epi8(bytes, sixes), multiplier);
        __m256i slots = _mm512_cvtepi64_epi32(_mm512_srl_epi64(product, down));
        __m256i words = _mm256_i32gather_epi32((const int *)bits, _mm256_srli_epi32(slots, 5), 4);
        __m256i bit = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_and_si256(slots, _mm256_set1_epi32(31)));
        mask |= (uint64_t)_mm256_test_epi32_mask(words, bit) << (8 * part);
    }
    return mask;
}
#endif

static passing_of *passing_at(int level) {
#if defined(__x86_64__)
    if (level == AVX512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")) {
        return avx512_passing;
    }
#endif
    (void)level;
    return plain_passing;
}

/* Forms that may begin at `lead` or later, before `core`, and lie wholly in the data: where, shifted by 16 bits, and how
 * long, in no order and some several times. Returns how many there are; those beyond `room` are only counted. */
int64_t cenotaph_candidates(int level, const uint8_t *bits, const uint8_t *marks, int shift, const uint64_t *secrets,
                            const windows *classes, const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *places,
                            int64_t room) {
    finder f = {data, size, lead, core, 0, room, places};
    passing_of *passing = passing_at(level);
    int zeros_pass = bits[0] & 1;
    for (int64_t at = 0; at + SIX <= size; at += WORD_BYTES) {
        const uint8_t *here = data + at;
        uint8_t padded[WORD_BYTES + 8];
        uint64_t mask;
        if (size - at < (int64_t)sizeof padded) {
            memset(padded, 0, sizeof padded);
            memcpy(padded, here, (size_t)(size - at));
            here = padded;
        }
        if (!zeros_pass) {
            uint64_t some = 0;
            for (size_t i = 0; i < sizeof padded; i += 8) {
                some |= load64(here + i);
            }
            if (!some) {
                continue;
            }
        }
        mask = passing(bits, shift, secrets[SLOTS], here);
        while (mask) {
            int bit = next_bit(&mask);
            uint8_t known = marks[slot_of(load64(here + bit), secrets[SLOTS], shift)];
            for (int nth = 0; nth < CLASSES; nth++) {
                if (known >> nth & 1) {
                    around(&f, classes + nth, secrets, at + bit - classes[nth].six);
                }
            }
        }
    }
    return f.found;
}
