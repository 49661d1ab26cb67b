/* The search for numbers, millions at once, in any bytes and in all forms that a store may have written them in
 * (cenotaph.residue.numbers, which says what is found; its search in Python is the reference).
 *
 * No form of any number is in memory: what lies in the bytes is read as a number, and that is looked up. Most bytes
 * cannot begin one, and a mask of a strip says so; most that could have four digits in their middle that none of the
 * numbers has there; most that are left are not in the filter, one line of cache each. */
#include "masks.h"

#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MOST = 18, CHUNK = 256, FEW = 32, WAITING = 64, LEAST_DIGITS = 6, GROUPS = 10000 };
enum { ZERO, DIGIT, TOP, SMALL = TOP + 4, WEIGHT, HEADER, RANGES };
enum { UTF8 = 0, UTF16_LITTLE = 1, UTF16_BIG = 2, INT64_LITTLE = 4, INT64_BIG = 5, INT48_BIG = 6, NUMERIC_LITTLE = 8, NUMERIC_BIG = 9 };

typedef struct {
    uint64_t hash;
    int64_t start;
    uint8_t length, encoding;
} question;

typedef struct {
    double reciprocal, low, end; /* between which a group of four digits lies that `near` has */
    const uint8_t *near;         /* a bit for each group of four digits that is one of theirs, or next to one */
} test;

/* The last where there is none. */
static inline int lowest_bit(uint64_t mask) { return __builtin_ctzll(mask | (uint64_t)1 << 63); }

#define TARGET
#define NAME(x) baseline_##x
#include "numbers_lanes.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define NAME(x) avx2_##x
#include "numbers_lanes.h"

/* What numbers_lanes.h has, as the compiler does not make it: one comparison gives all bits. */
__attribute__((target("avx512f,avx512bw"))) static uint32_t avx512_between(const uint16_t groups[FEW], uint16_t low, uint16_t span) {
    __m512i above = _mm512_sub_epi16(_mm512_loadu_si512(groups), _mm512_set1_epi16((short)low));
    return _mm512_cmple_epu16_mask(above, _mm512_set1_epi16((short)span));
}

#define HAS_BETWEEN
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,popcnt")))
#define NAME(x) avx512_##x
#include "numbers_lanes.h"
#endif

typedef struct {
    void (*groups)(const uint8_t *text, uint16_t groups[FEW]);
    uint32_t (*between)(const uint16_t groups[FEW], uint16_t low, uint16_t span);
    uint64_t (*rows)(const uint64_t bits[STRIP_WORDS], int count, int step, uint64_t rows[STRIP_WORDS]);
    uint64_t (*pairs)(const uint64_t *digit, const uint64_t *zero, uint64_t pairs[STRIP_WORDS]);
    uint64_t (*tops)(const uint64_t *first, const uint64_t *zero, int top, uint64_t forms[3][STRIP]);
    size_t (*flattened)(const uint64_t words[STRIP], uint16_t places[STRIP * WORD_BYTES + 8]);
    int gathers;
} lanes;

/* Machines that have AVX-512 for bytes have the rest of it that is used here, and those with AVX2 what came with it. */
static const lanes *lanes_at(int level) {
    static const lanes baseline = {baseline_groups, baseline_between, baseline_rows, baseline_pairs, baseline_tops, baseline_flattened, 0};
#if defined(__x86_64__)
    static const lanes avx2 = {avx2_groups, avx2_between, avx2_rows, avx2_pairs, avx2_tops, avx2_flattened, 0};
    static const lanes avx512 = {avx512_groups, avx512_between, avx512_rows, avx512_pairs, avx512_tops, avx512_flattened, 1};
    if (level == AVX512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")) {
        return &avx512;
    }
    if (level >= AVX2 && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt")) {
        return &avx2;
    }
#endif
    (void)level;
    return &baseline;
}

typedef struct {
    const numbers *sought;
    const uint8_t *data;
    int64_t size, lead, core;
    uint64_t powers[MOST + 2], reciprocals[MOST + 1];
    int shifts[MOST + 1];
    int plains, plain[MOST + 1]; /* how many digits there are, where these are text */
    uint16_t low[MOST + 1], span[MOST + 1]; /* between which the four digits lie that tell most */
    int text, wide; /* digits in a row that the shortest window needs, and pairs of digit and zero; 0 for none */
    size_t asked, likely;
    question first[WAITING], second[WAITING];
    int64_t *starts, found;
    uint32_t *ordinals;
    uint8_t *lengths, *encodings;
    const lanes *by;
    int tests[8]; /* by the place of the highest byte that is not zero */
    test test[8][MOST + 1];
} finder;

static inline uint64_t mixed(const numbers *s, uint64_t word) {
    word *= s->first;
    word ^= word >> 32;
    word *= s->second;
    return word ^ word >> 29;
}

/* --- the index */

static void look_up(finder *f) {
    const numbers *s = f->sought;
    for (size_t i = 0; i < f->likely; i++) {
        __builtin_prefetch(s->hashed + s->begin[f->second[i].hash >> s->begin_shift]);
    }
    for (size_t i = 0; i < f->likely; i++) {
        question q = f->second[i];
        uint64_t bucket = q.hash >> s->begin_shift;
        uint32_t low = s->begin[bucket], high = s->begin[bucket + 1], end = high;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (s->hashed[middle] < q.hash) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low < end && s->hashed[low] == q.hash) {
            f->starts[f->found] = q.start;
            f->ordinals[f->found] = low;
            f->lengths[f->found] = q.length;
            f->encodings[f->found++] = q.encoding;
        }
    }
    f->likely = 0;
}

static inline uint64_t filter_bits(uint64_t hash) {
    return (uint64_t)1 << (hash & 63) | (uint64_t)1 << (hash >> 6 & 63) | (uint64_t)1 << (hash >> 12 & 63)
           | (uint64_t)1 << (hash >> 18 & 63);
}

static void sift(finder *f) {
    const numbers *s = f->sought;
    for (size_t i = 0; i < f->asked; i++) {
        uint64_t hash = f->first[i].hash, bits = filter_bits(hash);
        if ((s->filter[hash >> s->filter_shift] & bits) == bits) {
            __builtin_prefetch(s->begin + (hash >> s->begin_shift));
            f->second[f->likely++] = f->first[i];
            if (f->likely == WAITING) {
                look_up(f);
            }
        }
    }
    f->asked = 0;
}

static inline void ask(finder *f, uint64_t word, int64_t start, int64_t length, int encoding) {
    const numbers *s = f->sought;
    uint64_t hash = mixed(s, word);
    __builtin_prefetch(s->filter + (hash >> s->filter_shift));
    f->first[f->asked++] = (question){hash, start, (uint8_t)length, (uint8_t)encoding};
    if (f->asked == WAITING) {
        sift(f);
    }
}

static inline int tells(const numbers *s, int digits, uint32_t group) {
    return s->tells[1250 * digits + (group >> 3)] >> (group & 7) & 1;
}

static inline int within(const finder *f, int64_t start, int64_t length) {
    return start >= f->lead && start < f->core && start + length <= f->size;
}

/* --- written in digits */

static inline int is_digit(uint8_t byte) { return (uint8_t)(byte - '0') <= 9; }

/* Ask for a number that is written at `at`, in so many characters of one byte or of two. Between digits of UTF-16 lie
 * zeros, so where there is one before and one behind, both orders of bytes are there, one of which counts: the one at
 * an even place. */
static inline void ask_written(finder *f, uint64_t word, int64_t at, int count, int step) {
    if (step == 1) {
        if (within(f, at, count)) {
            ask(f, word, at, count, UTF8);
        }
        return;
    }
    int64_t length = 2 * (int64_t)count;
    int little = within(f, at, length) && !f->data[at + length - 1];
    int big = at > 0 && within(f, at - 1, length) && !f->data[at - 1];
    if (little && !(big && at % 2)) {
        ask(f, word, at, length, UTF16_LITTLE);
    } else if (big) {
        ask(f, word, at - 1, length, UTF16_BIG);
    }
}

static int all_the_same(const uint8_t *digits, int count) {
    for (int i = 1; i < count; i++) {
        if (digits[i] != digits[0]) {
            return 0;
        }
    }
    return 1;
}

/* Eight digits, a byte each, as text or not (Lemire, "Quickly parsing eight digits"). */
static inline uint64_t eight_digits(uint64_t word) {
    word &= 0x0f0f0f0f0f0f0f0f;
    word = word * 10 + (word >> 8);
    uint64_t even = (word & 0x000000ff000000ff) * 0x000f424000000064;
    uint64_t odd = (word >> 16 & 0x000000ff000000ff) * 0x0000271000000001;
    return (even + odd) >> 32;
}

/* The number of so many digits; bytes behind them are read. */
static inline uint64_t read_digits(const uint8_t *digits, int count) {
    int first = count & 7;
    uint64_t value = first ? eight_digits(load64(digits) << (64 - 8 * first)) : 0;
    for (int at = first; at < count; at += 8) {
        value = 100000000 * value + eight_digits(load64(digits + at));
    }
    return value;
}

/* A number whose last digit is an X, behind `count` digits that end at `end`. */
static void crossed(finder *f, const uint8_t *digits, int count, int64_t end, int step) {
    const numbers *s = f->sought;
    if (end >= f->size || (f->data[end] | 0x20) != 'x') {
        return;
    }
    uint32_t lengths = f->data[end] == 'X' ? s->large_x : s->small_x;
    uint64_t mark = f->data[end] == 'X' ? 2 : 3;
    for (int n = step == 1 ? LEAST_DIGITS : 3; n <= MOST && n - 1 <= count; n++) {
        if (lengths >> n & 1) {
            uint64_t value = read_digits(digits + count - (n - 1), n - 1);
            ask_written(f, mark * f->powers[n] + 10 * value, end - (int64_t)(n - 1) * step, n, step);
        }
    }
}

/* The digits of a row, a byte each, and how many there are, at most CHUNK. `whole` says whether these are all, and 2
 * that nothing goes on behind the last. */
static int digits_at(const finder *f, int64_t at, int step, uint8_t digits[CHUNK], int *whole) {
    int count = 0;
    *whole = 1;
    for (int64_t place = at; place < f->size && is_digit(f->data[place]); place += step) {
        if (count == CHUNK) {
            *whole = 0;
            break;
        }
        digits[count++] = f->data[place] - '0';
        if (step == 2 && (place + 1 >= f->size || f->data[place + 1])) {
            *whole = 2;
            break;
        }
    }
    return count;
}

/* Ask for the windows of `n` digits that begin at these places of a row. */
static inline void ask_windows(finder *f, uint64_t windows, const uint8_t *text, const uint16_t *groups, int n, int64_t at) {
    const numbers *s = f->sought;
    while (windows) {
        int i = next_bit(&windows);
        if (tells(s, n, groups[i + s->group[n]]) && !all_the_same(text + i, n) && within(f, at + i, n)) {
            ask(f, f->powers[n] + read_digits(text + i, n), at + i, n, UTF8);
        }
    }
}

/* As `row`, of `count` digits of one byte with something else behind them, fewer than FEW; twice as many bytes are read. */
static int64_t short_row(finder *f, int64_t at, int count) {
    const numbers *s = f->sought;
    const uint8_t *text = f->data + at;
    uint16_t groups[FEW];
    f->by->groups(text, groups);
    for (int nth = 0; nth < f->plains; nth++) {
        int n = f->plain[nth];
        if (n <= count) {
            uint64_t windows = f->by->between(groups, f->low[n], f->span[n]) >> s->group[n];
            ask_windows(f, windows & (((uint64_t)2 << (count - n)) - 1), text, groups, n, at);
        }
    }
    if (s->large_x | s->small_x) {
        crossed(f, text, count, at + count, 1);
    }
    return at + count;
}

/* All windows of a row of digits that begins at `at`; where the next row may begin. */
static int64_t row(finder *f, int64_t at, int step) {
    const numbers *s = f->sought;
    uint8_t digits[CHUNK + FEW];
    uint16_t groups[CHUNK];
    int whole, count = digits_at(f, at, step, digits, &whole);
    memset(digits + count, 0, FEW);
    for (int i = 0; i + 4 <= count; i++) {
        groups[i] = (uint16_t)(1000 * digits[i] + 100 * digits[i + 1] + 10 * digits[i + 2] + digits[i + 3]);
    }
    int last = whole ? count - 1 : CHUNK - MOST;
    for (int i = 0; i <= last; i++) {
        for (int nth = 0; nth < f->plains && i + f->plain[nth] <= count; nth++) {
            int n = f->plain[nth];
            if (tells(s, n, groups[i + s->group[n]]) && !all_the_same(digits + i, n)) {
                ask_written(f, f->powers[n] + read_digits(digits + i, n), at + (int64_t)i * step, n, step);
            }
        }
    }
    if (!whole) {
        return at + (int64_t)(CHUNK - MOST + 1) * step;
    }
    if (whole == 1 && (s->large_x | s->small_x)) {
        crossed(f, digits, count, at + (int64_t)count * step, step);
    }
    return at + (int64_t)count * step;
}

/* --- written in binary */

/* How many digits a number of this value may have: a bit for each. */
static uint32_t likely_lengths(const finder *f, uint64_t value) {
    const numbers *s = f->sought;
    uint32_t likely = 0;
    for (uint32_t lengths = s->plain; lengths; lengths &= lengths - 1) {
        int n = __builtin_ctz(lengths);
        if (value >= f->powers[n] || (value < f->powers[n - 1] && !(s->padded >> n & 1))) {
            continue;
        }
        if (n >= LEAST_DIGITS) {
            uint64_t upper = (uint64_t)((unsigned __int128)value * f->reciprocals[n] >> f->shifts[n]);
            if (!tells(s, n, (uint32_t)(upper % 10000))) {
                continue;
            }
        }
        likely |= (uint32_t)1 << n;
    }
    return likely;
}

/* Ask for the first number of this value: with zeros before it, there may be several. */
static void ask_value(finder *f, uint64_t value, int64_t start, int64_t length, int encoding) {
    for (uint32_t lengths = likely_lengths(f, value); lengths; lengths &= lengths - 1) {
        ask(f, f->powers[__builtin_ctz(lengths)] + value, start, length, encoding);
    }
}

static inline uint64_t read_integer(const uint8_t *at, int encoding) {
    if (encoding == INT48_BIG) {
        uint64_t upper = __builtin_bswap16(load16(at));
        return upper << 32 | __builtin_bswap32(load32(at + 2));
    }
    return encoding == INT64_LITTLE ? load64(at) : __builtin_bswap64(load64(at));
}

/* Which of the integers at these places have four of their digits where they tell most. That is computed with a
 * reciprocal and so may be one off, which `near` allows for. */
static size_t plain_look(const uint8_t *data, const uint16_t *places, size_t count, const test *tests, int number, int encoding,
                         uint16_t *likely) {
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        double value = (double)(int64_t)read_integer(data + places[i], encoding);
        uint32_t some = 0;
        for (int nth = 0; nth < number; nth++) {
            double scaled = value * tests[nth].reciprocal;
            double digits = (scaled - (double)(int64_t)scaled) * (double)GROUPS;
            if (digits >= tests[nth].low && digits < tests[nth].end) {
                uint32_t group = (uint32_t)(int32_t)digits;
                some |= (uint32_t)tests[nth].near[group >> 3] >> (group & 7);
            }
        }
        likely[left] = places[i];
        left += some & 1;
    }
    return left;
}

#if defined(__x86_64__)
/* As above, eight at once: eight bytes are read at each place. */
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) static size_t avx512_look(
    const uint8_t *data, const uint16_t *places, size_t count, const test *tests, int number, int encoding, uint16_t *likely) {
    const __m512i reversed = _mm512_broadcast_i32x4(_mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
    size_t left = 0;
    for (size_t i = 0; i < count; i += 8) {
        __mmask8 there = (__mmask8)(count - i < 8 ? (1u << (count - i)) - 1 : 255);
        __m512i at = _mm512_cvtepu16_epi64(_mm_loadu_si128((const __m128i *)(places + i)));
        __m512i words = _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), there, at, data, 1);
        if (encoding != INT64_LITTLE) {
            words = _mm512_shuffle_epi8(words, reversed);
        }
        if (encoding == INT48_BIG) {
            words = _mm512_srli_epi64(words, 16);
        }
        __m512d value = _mm512_cvtepi64_pd(words);
        uint64_t good = 0;
        for (int nth = 0; nth < number; nth++) {
            __m512d scaled = _mm512_mul_pd(value, _mm512_set1_pd(tests[nth].reciprocal));
            __m512d part = _mm512_sub_pd(scaled, _mm512_roundscale_pd(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
            __m512d digits = _mm512_mul_pd(part, _mm512_set1_pd((double)GROUPS));
            __mmask8 some = _mm512_mask_cmp_pd_mask(there, digits, _mm512_set1_pd(tests[nth].low), _CMP_GE_OQ);
            some = _mm512_mask_cmp_pd_mask(some, digits, _mm512_set1_pd(tests[nth].end), _CMP_LT_OQ);
            if (some) { /* few: a gather of few takes longer than one of all */
                uint32_t groups[8];
                _mm256_storeu_si256((__m256i *)groups, _mm512_cvttpd_epi32(digits));
                for (uint64_t lanes = some; lanes;) {
                    int lane = next_bit(&lanes);
                    good |= (uint64_t)(tests[nth].near[groups[lane] >> 3] >> (groups[lane] & 7) & 1) << lane;
                }
            }
        }
        while (good) {
            likely[left++] = places[i + (size_t)next_bit(&good)];
        }
    }
    return left;
}
#endif

static void integers_at(finder *f, int64_t at, uint16_t *places, size_t count, int top, int encoding) {
    int64_t length = encoding == INT48_BIG ? 6 : 8;
    uint16_t likely[STRIP * WORD_BYTES];
    size_t left = 0, whole;
    for (; count && at + places[count - 1] + length > f->size; count--) {
    }
    for (whole = f->by->gathers ? count : 0; whole && at + places[whole - 1] + 8 > f->size; whole--) {
    }
#if defined(__x86_64__)
    if (whole) {
        left = avx512_look(f->data + at, places, whole, f->test[top], f->tests[top], encoding, likely);
    }
#endif
    left += plain_look(f->data + at, places + whole, count - whole, f->test[top], f->tests[top], encoding, likely + left);
    for (size_t i = 0; i < left; i++) {
        int64_t start = at + likely[i];
        uint64_t value = read_integer(f->data + start, encoding);
        if (value >> 32 && within(f, start, length) && !(length == 6 && value >> 47)) {
            ask_value(f, value, start, length, encoding);
        }
    }
}

/* Integers of which the highest byte is not zero, in both orders of bytes: most of what is looked at where bytes are random. */
static void full_integers(finder *f, const uint64_t first[STRIP_WORDS], int64_t at) {
    enum { TOP_BYTE = 7 };
    uint16_t places[STRIP * WORD_BYTES + 8], before[STRIP * WORD_BYTES + 8];
    size_t count = f->by->flattened(first, places), skip = 0, left = 0;
    for (; skip < count && places[skip] < TOP_BYTE; skip++) {
    }
    for (size_t i = skip; i < count; i++) {
        before[left++] = (uint16_t)(places[i] - TOP_BYTE);
    }
    for (uint64_t more = first[STRIP] & ((1 << TOP_BYTE) - 1); more;) {
        before[left++] = (uint16_t)(STRIP * WORD_BYTES - TOP_BYTE + next_bit(&more));
    }
    integers_at(f, at, before, left, TOP_BYTE, INT64_LITTLE);
    integers_at(f, at, places, count, TOP_BYTE, INT64_BIG);
}

static void integers(finder *f, const uint64_t masks[RANGES][STRIP_WORDS], int64_t at) {
    static const int encodings[3] = {INT64_LITTLE, INT64_BIG, INT48_BIG};
    for (int top = 4; top < 7; top++) {
        uint64_t forms[3][STRIP];
        if (!f->tests[top]) {
            continue;
        }
        uint64_t any = f->by->tops(masks[TOP + top - 4], masks[ZERO], top, forms);
        for (int form = 0; any && form < (top > 5 ? 2 : 3); form++) {
            uint16_t places[STRIP * WORD_BYTES + 8];
            size_t count = f->by->flattened(forms[form], places);
            if (count) {
                integers_at(f, at, places, count, top, encodings[form]);
            }
        }
    }
    if (f->tests[7]) {
        full_integers(f, masks[TOP + 3], at);
    }
}

/* --- PostgreSQL's digits to the base 10,000, zeros at the end left out (cenotaph.residue.postgres_forms) */

static void numeric(finder *f, int64_t start, int header, int count, int big, int zeros) {
    int64_t length = header + 2 * (int64_t)count;
    if (!within(f, start, length)) {
        return;
    }
    const uint8_t *form = f->data + start;
    uint64_t value = 0;
    uint32_t group = 0, filled = 0;
    for (int i = 0; i < count; i++) {
        group = load16(form + header + 2 * i);
        group = big ? __builtin_bswap16((uint16_t)group) : group;
        if (group > 9999 || (!i && !group)) {
            return;
        }
        value = 10000 * value + group;
    }
    for (int64_t i = 0; i < length; i++) {
        filled += form[i] != 0;
    }
    if (!group || filled < 5) {
        return;
    }
    for (int left_out = 0; count + left_out <= 5; left_out++, value *= 10000) {
        if (value >= f->powers[MOST]) {
            return;
        }
        if (zeros < 0 || zeros == left_out) {
            ask_value(f, value, start, length, big ? NUMERIC_BIG : NUMERIC_LITTLE);
        }
    }
}

/* Whether a word of bytes, and so many more as a form has, are all the same, as spaces are behind a text, and make none of the
 * numbers. */
static int is_barren(const finder *f, int64_t at) {
    enum { LONGEST_FORM = 10 };
    const uint8_t *data = f->data + at;
    if (f->size - at < WORD_BYTES + LONGEST_FORM || memcmp(data, data + 1, WORD_BYTES + LONGEST_FORM - 1)) {
        return 0;
    }
    uint64_t group = data[0] * (uint64_t)257, four = group * 1000100010001;
    return !likely_lengths(f, four) && !likely_lengths(f, 10000 * four) && !likely_lengths(f, 10000 * four + group);
}

static void numerics(finder *f, const uint64_t masks[RANGES][STRIP_WORDS], int word, int64_t at) {
    const uint64_t *zero = masks[ZERO] + word, *small = masks[SMALL] + word;
    uint64_t odd = ahead(small, 3) & ahead(small, 5) & ahead(small, 7), even = ahead(small, 2) & ahead(small, 4) & ahead(small, 6);
    uint64_t some = ~(zero[0] & ahead(zero, 1));
    uint64_t little = odd & ahead(small, 1) & some, big = even & small[0] & some;
    uint64_t headed = masks[WEIGHT][word] & ahead(masks[HEADER] + word, 1) & odd;
    uint64_t bare = ~some & even & ~(ahead(zero, 2) & ahead(zero, 3));
    if ((little | big) && is_barren(f, at)) {
        return;
    }
    while (little) {
        int64_t start = at + next_bit(&little);
        numeric(f, start, 0, 4, 0, -1);
        numeric(f, start, 0, 5, 0, -1);
    }
    while (big) {
        int64_t start = at + next_bit(&big);
        numeric(f, start, 0, 4, 1, -1);
        numeric(f, start, 0, 5, 1, -1);
    }
    while (headed) {
        int64_t start = at + next_bit(&headed);
        numeric(f, start, 2, 3, 0, f->data[start] - 2);
    }
    while (bare) {
        numeric(f, at + next_bit(&bare), 2, 3, 1, -1);
    }
}

/* --- strips */

/* All rows of digits of a strip. `until` says, for text and for UTF-16 at even and odd places, what is done already. */
static void written(finder *f, const uint64_t masks[RANGES][STRIP_WORDS], int64_t at, int64_t until[3]) {
    uint64_t text[STRIP_WORDS], pairs[STRIP_WORDS], wide[STRIP_WORDS];
    if (f->text) {
        uint64_t any = f->by->rows(masks[DIGIT], f->text, 1, text);
        for (int word = 0; word < STRIP && any; word++) {
            while (text[word]) {
                int bit = next_bit(&text[word]);
                int64_t start = at + WORD_BYTES * word + bit;
                if (start >= until[0]) {
                    uint64_t others = ~ahead(masks[DIGIT] + word, bit);
                    int count = others ? __builtin_ctzll(others) : WORD_BYTES;
                    int is_short = count < FEW && f->size - start >= 2 * FEW;
                    until[0] = is_short ? short_row(f, start, count) : row(f, start, 1);
                }
            }
        }
    }
    if (f->wide) {
        uint64_t any = f->by->pairs(masks[DIGIT], masks[ZERO], pairs);
        any = any ? f->by->rows(pairs, f->wide, 2, wide) : 0;
        for (int word = 0; word < STRIP && any; word++) {
            while (wide[word]) {
                int64_t start = at + WORD_BYTES * word + next_bit(&wide[word]);
                if (start >= until[1 + start % 2]) {
                    until[1 + start % 2] = row(f, start, 2);
                }
            }
        }
    }
}

static int shortest(uint32_t lengths, int from) {
    lengths = lengths >> from << from;
    return lengths ? __builtin_ctz(lengths) : 2 * MOST;
}

/* The first and the last bit that is set, of one for each group of four digits; the last and the first where none is. */
static void bounds(const uint8_t *groups, int *low, int *high) {
    for (*low = 0; *low < GROUPS - 1 && !(groups[*low >> 3] >> (*low & 7) & 1); ++*low) {
    }
    for (*high = GROUPS - 1; *high > *low && !(groups[*high >> 3] >> (*high & 7) & 1); --*high) {
    }
}

static void prepare(finder *f) {
    const numbers *s = f->sought;
    uint32_t crossed = s->large_x | s->small_x;
    int plain = shortest(s->plain, LEAST_DIGITS), text = shortest(crossed, LEAST_DIGITS) - 1;
    int wide = shortest(crossed, 3) - 1;
    f->text = plain < text ? plain : text;
    f->text = f->text > MOST ? 0 : f->text;
    f->wide = plain - 1 < wide ? plain - 1 : wide;
    f->wide = f->wide >= MOST ? 0 : f->wide;
    for (int n = LEAST_DIGITS; n <= MOST; n++) {
        if (s->plain >> n & 1) {
            int low, high;
            bounds(s->tells + 1250 * n, &low, &high);
            f->plain[f->plains++] = n;
            f->low[n] = (uint16_t)low;
            f->span[n] = (uint16_t)(high - low);
        }
    }
    f->powers[0] = 1;
    for (int n = 1; n <= MOST + 1; n++) {
        f->powers[n] = 10 * f->powers[n - 1];
    }
    for (int n = LEAST_DIGITS; n <= MOST; n++) { /* Granlund and Montgomery, "Division by invariant integers", 1994 */
        uint64_t divisor = f->powers[n - 4 - s->group[n]];
        int bits = divisor == 1 ? 0 : 64 - __builtin_clzll(divisor - 1);
        f->shifts[n] = 62 + bits;
        f->reciprocals[n] = (uint64_t)(((unsigned __int128)1 << (62 + bits)) / divisor + (divisor > 1));
    }
}

/* What is looked at of integers by their highest byte: for each length that such numbers have. */
static void prepare_tests(finder *f) {
    const numbers *s = f->sought;
    for (int top = 4; top < 8; top++) {
        for (uint32_t lengths = s->places[top]; lengths; lengths &= lengths - 1) {
            int n = __builtin_ctz(lengths);
            const uint8_t *near = s->near + 1256 * n;
            int low, high;
            bounds(near, &low, &high);
            double end = high == GROUPS - 1 ? GROUPS + 1 : high + 1; /* as a fraction, 9999 and more may be rounded up to 1 */
            f->test[top][f->tests[top]++] = (test){1.0 / (double)f->powers[n - s->group[n]], low, end, near};
        }
    }
}

static int is_sound(const numbers *s) {
    for (int n = LEAST_DIGITS; n <= MOST; n++) {
        if (s->group[n] > n - 5) {
            return 0;
        }
    }
    for (int top = 0; top < 8; top++) {
        if (s->places[top] & (~s->plain | ((1 << 10) - 1))) { /* numbers of fewer digits are below 2**32 */
            return 0;
        }
    }
    return s->count > 0 && s->filter_shift > 0 && s->filter_shift < 64 && s->begin_shift > 0 && s->begin_shift < 64
           && !((s->plain | s->large_x | s->small_x) >> (MOST + 1)) && !((s->plain | s->large_x | s->small_x) & 1);
}

/* Numbers that begin at `lead` or later, before `core`, and lie wholly in the data. `state` says where to go on; when
 * there is no more room it is below `core`. Places come nearly in order, and one may come twice. */
int cenotaph_find_numbers(int level, const numbers *sought, const uint8_t *data, int64_t size, int64_t lead, int64_t core,
                          int64_t *state, int64_t *starts, uint32_t *ordinals, uint8_t *lengths, uint8_t *encodings,
                          int64_t room, int64_t *found) {
    enum { SPARE = 1 << 18 }; /* more than begins in one strip: 1,300 places, eight forms, 18 lengths */
    if (!cenotaph_level(level) || size < 0 || lead < 0 || core > size || state[0] < 0 || room < 2 * SPARE || !is_sound(sought)) {
        return MALFORMED;
    }
    finder *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return NO_MEMORY;
    }
    f->sought = sought;
    f->data = data;
    f->size = size;
    f->lead = lead;
    f->core = core;
    f->starts = starts;
    f->ordinals = ordinals;
    f->lengths = lengths;
    f->encodings = encodings;
    f->by = lanes_at(level);
    prepare(f);
    prepare_tests(f);
    static const byte_range first[2] = {{0, 0}, {'0', 9}};
    static const byte_range last[3] = {{0, 0x27}, {2, 2}, {0x80, 0}}; /* SMALL is the upper byte of a digit to the base 10,000 */
    byte_range tops[8] = {{0, 0}};
    for (int top = 4; top < 8; top++) {
        tops[top] = (byte_range){sought->lowest[top], (uint8_t)(sought->highest[top] - sought->lowest[top])};
    }
    masks_of *masks_in = masks_at(level);
    uint64_t masks[RANGES][STRIP_WORDS];
    uint8_t padded[STRIP_WORDS * WORD_BYTES];
    int64_t at = state[0];
    for (; at < core && f->found + SPARE < room; at += STRIP * WORD_BYTES) {
        const uint8_t *strip;
        if (!strip_at(data, size, at, padded, &strip)) {
            continue;
        }
        masks_in(strip, first, 2, masks + ZERO);
        for (int top = 4; top < 8; top++) {
            if (f->tests[top]) {
                masks_in(strip, tops + top, 1, masks + TOP + top - 4);
            }
        }
        if (sought->postgres) {
            masks_in(strip, last, 3, masks + SMALL);
        }
        integers(f, (const uint64_t(*)[STRIP_WORDS])masks, at);
        written(f, (const uint64_t(*)[STRIP_WORDS])masks, at, state + 1);
        for (int word = 0; word < STRIP && sought->postgres; word++) {
            numerics(f, (const uint64_t(*)[STRIP_WORDS])masks, word, at + word * WORD_BYTES);
        }
    }
    sift(f);
    look_up(f);
    state[0] = at;
    *found = f->found;
    free(f);
    return DONE;
}

/* Where each of these words is among the numbers, or -1. */
int cenotaph_look_up(const numbers *sought, const uint64_t *words, size_t count, int64_t *ordinals) {
    uint64_t hashes[WAITING];
    if (!is_sound(sought)) {
        return MALFORMED;
    }
    for (size_t first = 0; first < count; first += WAITING) {
        size_t most = count - first < WAITING ? count - first : WAITING;
        for (size_t i = 0; i < most; i++) {
            hashes[i] = mixed(sought, words[first + i]);
            __builtin_prefetch(sought->filter + (hashes[i] >> sought->filter_shift));
        }
        for (size_t i = 0; i < most; i++) {
            uint64_t bits = filter_bits(hashes[i]), bucket = hashes[i] >> sought->begin_shift;
            int may_be = (sought->filter[hashes[i] >> sought->filter_shift] & bits) == bits;
            ordinals[first + i] = may_be ? (int64_t)bucket : -1;
            if (may_be) {
                __builtin_prefetch(sought->begin + bucket);
            }
        }
        for (size_t i = 0; i < most; i++) {
            if (ordinals[first + i] >= 0) {
                __builtin_prefetch(sought->hashed + sought->begin[ordinals[first + i]]);
            }
        }
        for (size_t i = 0; i < most; i++) {
            int64_t bucket = ordinals[first + i];
            ordinals[first + i] = -1;
            for (uint32_t at = bucket < 0 ? 0 : sought->begin[bucket]; bucket >= 0 && at < sought->begin[bucket + 1]; at++) {
                if (sought->hashed[at] == hashes[i]) {
                    ordinals[first + i] = at;
                }
            }
        }
    }
    return DONE;
}
