/* Rows of which all values came together before (cenotaph.residue.familiar).
 *
 * A row is known by 64 bits: the upper half of a sum modulo 2**128, of its values' lengths and words of eight bytes, each
 * times a secret number of 128 bits, and of a secret one. So two rows that differ have the same 64 bits once in 2**64 times,
 * whatever they hold, for who does not know the secrets (Thorup, "High speed hashing for integers and strings", section 3.3).
 * They lie in lines of eight, as memory is fetched; a line that is full lets go of one. */
#include "columns.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    AHEAD = 16,      /* rows whose lines are on their way while the ones before them are looked up */
    LINE = 8,        /* rows a line of memory has */
    MOST_BYTES = 64, /* of a value: a row with a longer one is never familiar */
    WORDS = 1 + MOST_BYTES / 8,
};

typedef unsigned __int128 wide;

static inline wide times(const uint64_t secret[2], uint64_t word) {
    return (wide)secret[0] * word + ((wide)(secret[1] * word) << 64);
}

/* Eight bytes of it after each other, the last of them overlapping what came before; with its length they say all. */
static inline wide told(const uint64_t secrets[][2], const uint8_t *raw, uint64_t bytes) {
    wide sum = times(secrets[0], bytes);
    if (bytes >= 8) {
        sum += times(secrets[WORDS - 1], load64(raw + bytes - 8));
        for (uint64_t nth = 1; 8 * nth < bytes; nth++) {
            sum += times(secrets[nth], load64(raw + 8 * nth - 8));
        }
        return sum;
    }
    uint64_t word = 0;
    if (bytes >= 4) {
        word = load32(raw) | (uint64_t)load32(raw + bytes - 4) << 32;
    } else {
        for (uint64_t i = 0; i < bytes; i++) {
            word = word << 8 | raw[i];
        }
    }
    return sum + times(secrets[1], word);
}

/* One value: its part of the row's sum; `open` where it is too long. */
static inline int add_value(const column *c, const uint64_t secrets[][2], int how, uint64_t at, wide *sum, uint8_t *open) {
    rest r;
    if (how == SIGNED || how == UNSIGNED) {
        uint64_t number = how == SIGNED ? signed_at(c, at) : unsigned_at(c, c->data, at);
        *sum += times(secrets[0], 8) + times(secrets[1], number);
        return 1;
    }
    if (how == FIXED) {
        r = (rest){c->data + at * (uint64_t)c->width, (uint64_t)c->width, 0};
    } else {
        int64_t start = how == OFFSETS64 ? (int64_t)load64(c->places + 8 * at) : (int32_t)load32(c->places + 4 * at);
        int64_t end = how == OFFSETS64 ? (int64_t)load64(c->places + 8 * at + 8) : (int32_t)load32(c->places + 4 * at + 4);
        if (!span(c->data, c->data_bytes, start, end, &r)) {
            return 0;
        }
    }
    if (r.raw_bytes > MOST_BYTES) {
        *open = 1;
    } else {
        *sum += told(secrets, r.raw, r.raw_bytes);
    }
    return 1;
}

static inline int add_values(const column *c, const uint64_t secrets[][2], int how, uint64_t row, size_t some, wide *sums,
                             uint8_t *open) {
    uint64_t first = (uint64_t)c->first + row;
    for (size_t i = 0; i < some; i++) {
        if (is_valid(c, first + i) && !add_value(c, secrets, how, first + i, &sums[i], &open[i])) {
            return MALFORMED;
        }
    }
    return DONE;
}

/* Add what one column has in these rows to their sums; nothing for a null, as for an empty one. */
static int add_column(const column *c, const uint64_t secrets[][2], uint64_t row, size_t some, wide *sums, uint8_t *open) {
    switch (c->how) {
    case SIGNED:
        return add_values(c, secrets, SIGNED, row, some, sums, open);
    case UNSIGNED:
        return add_values(c, secrets, UNSIGNED, row, some, sums, open);
    case OFFSETS32:
        return add_values(c, secrets, OFFSETS32, row, some, sums, open);
    case OFFSETS64:
        return add_values(c, secrets, OFFSETS64, row, some, sums, open);
    default:
        return add_values(c, secrets, FIXED, row, some, sums, open);
    }
}

/* The same 64 bits, mixed: rows that differ in a counter alone are evenly apart before, and would meet in few lines. Each
 * word comes from one. */
static inline uint64_t mixed(uint64_t tag) {
    tag = (tag ^ tag >> 33) * 0xff51afd7ed558ccd;
    tag = (tag ^ tag >> 33) * 0xc4ceb9fe1a85ec53;
    return tag ^ tag >> 33;
}

static inline int line_has(const uint64_t line[LINE], uint64_t tag) {
    int there = 0;
    for (int i = 0; i < LINE; i++) {
        there |= line[i] == tag;
    }
    return there;
}

/* Where there is room, else in place of another. */
static void put(uint64_t line[LINE], uint64_t tag) {
    uint64_t at = tag % LINE;
    for (uint64_t i = 0; i < LINE; i++) {
        if (!line[i]) {
            at = i;
            break;
        }
    }
    line[at] = tag;
}

/* Rows that are looked up while those after them are told, so that their lines have come by then. */
typedef struct {
    uint64_t row;
    size_t some;
    uint64_t tags[AHEAD], *at[AHEAD];
    uint8_t open[AHEAD];
} ahead;

static int tell(const column *columns, size_t width, const uint64_t *secrets, uint64_t *slots, uint64_t lines, ahead *now) {
    wide sums[AHEAD];
    memset(now->open, 0, sizeof now->open);
    for (size_t i = 0; i < now->some; i++) {
        sums[i] = secrets[0] | (wide)secrets[1] << 64;
    }
    for (size_t c = 0; c < width; c++) {
        const uint64_t(*mine)[2] = (const uint64_t(*)[2])(const void *)(secrets + 2 + 2 * WORDS * c);
        if (add_column(&columns[c], mine, now->row, now->some, sums, now->open) != DONE) {
            return MALFORMED;
        }
    }
    for (size_t i = 0; i < now->some; i++) {
        uint64_t tag = mixed((uint64_t)(sums[i] >> 64));
        now->tags[i] = tag + !tag; /* 0 is a slot that is free */
        now->at[i] = &slots[LINE * (uint64_t)((wide)now->tags[i] * lines >> 64)];
        __builtin_prefetch(now->at[i], 1);
    }
    return DONE;
}

#define LOOK_UP(name, is_in)                                                                                  \
    static void name(const ahead *some, int64_t *strange, size_t *made, uint64_t *added) {                   \
        for (size_t i = 0; i < some->some; i++) {                                                            \
            int known = !some->open[i] && is_in(some->at[i], some->tags[i]);                                 \
            if (!known) {                                                                                    \
                strange[(*made)++] = (int64_t)(some->row + i);                                               \
            }                                                                                                \
            if (!known && !some->open[i]) {                                                                  \
                put(some->at[i], some->tags[i]);                                                             \
                ++*added;                                                                                    \
            }                                                                                                \
        }                                                                                                    \
    }

LOOK_UP(look_up, line_has)

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2")
static inline int avx2_line_has(const uint64_t line[LINE], uint64_t tag) {
    __m256i wanted = _mm256_set1_epi64x((int64_t)tag);
    __m256i first = _mm256_cmpeq_epi64(_mm256_loadu_si256((const __m256i *)(const void *)line), wanted);
    __m256i second = _mm256_cmpeq_epi64(_mm256_loadu_si256((const __m256i *)(const void *)(line + 4)), wanted);
    __m256i either = _mm256_or_si256(first, second);
    return !_mm256_testz_si256(either, either);
}

LOOK_UP(avx2_look_up, avx2_line_has)
#pragma GCC pop_options
#endif

/* Write to `strange`, which has room for all, the numbers of the rows that are not familiar, and make those so. `secrets`
 * are two words of the set of columns, then 2 * WORDS of each column; `slots` has whole lines, one at least, aligned as
 * they are. */
int cenotaph_strange(int level, const column *columns, size_t width, int64_t rows, const uint64_t *secrets,
                     uint64_t *slots, uint64_t lines, int64_t *strange, size_t *made, uint64_t *added) {
    void (*find)(const ahead *, int64_t *, size_t *, uint64_t *) = look_up;
#if defined(__x86_64__)
    find = level >= AVX2 ? avx2_look_up : look_up;
#endif
    *made = 0;
    *added = 0;
    for (size_t c = 0; c < width; c++) {
        int how = columns[c].how;
        int has = how == SIGNED || how == UNSIGNED || how == OFFSETS32 || how == OFFSETS64 || how == FIXED;
        if (rows < 0 || !has || (rows && !is_sound(&columns[c], rows))) {
            return MALFORMED;
        }
    }
    if (!lines || rows < 0 || !cenotaph_level(level)) {
        return MALFORMED;
    }
    ahead before = {0}, now;
    for (uint64_t row = 0; row < (uint64_t)rows; row += AHEAD) {
        now.row = row;
        now.some = (uint64_t)rows - row < AHEAD ? (size_t)((uint64_t)rows - row) : AHEAD;
        if (tell(columns, width, secrets, slots, lines, &now) != DONE) {
            return MALFORMED;
        }
        find(&before, strange, made, added);
        before = now;
    }
    find(&before, strange, made, added);
    return DONE;
}
