/* The search for numbers, millions at once, in any bytes and in all forms that a store may have written them in
 * (cenotaph.residue.numbers, which says what is found; its search in Python is the reference).
 *
 * No form of any number is in memory: what lies in the bytes is read as a number, and that is looked up. Most bytes
 * cannot begin one, and a mask of a strip says so; most that could have four digits in their middle that none of the
 * numbers has there; most that are left are not in the filter, one line of cache each. */
#include "masks.h"

enum { MOST = 18, CHUNK = 256, WAITING = 64, LEAST_DIGITS = 6 };
enum { ZERO, DIGIT, TOP, SMALL = TOP + 4, WEIGHT, HEADER, RANGES };
enum { UTF8 = 0, UTF16_LITTLE = 1, UTF16_BIG = 2, INT64_LITTLE = 4, INT64_BIG = 5, INT48_BIG = 6, NUMERIC_LITTLE = 8, NUMERIC_BIG = 9 };

typedef struct {
    uint64_t hash;
    int64_t start;
    uint8_t length, encoding;
} question;

typedef struct {
    const numbers *sought;
    const uint8_t *data;
    int64_t size, lead, core;
    uint64_t powers[MOST + 2], reciprocals[MOST + 1];
    int shifts[MOST + 1];
    int text, wide; /* digits in a row that the shortest window needs, and pairs of digit and zero; 0 for none */
    size_t asked, likely;
    question first[WAITING], second[WAITING];
    int64_t *starts, found;
    uint32_t *ordinals;
    uint8_t *lengths, *encodings;
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

/* A number whose last digit is an X, behind `count` digits that end at `end`. */
static void crossed(finder *f, const uint64_t *values, int count, int64_t end, int step) {
    const numbers *s = f->sought;
    if (end >= f->size || (f->data[end] | 0x20) != 'x') {
        return;
    }
    uint32_t lengths = f->data[end] == 'X' ? s->large_x : s->small_x;
    uint64_t mark = f->data[end] == 'X' ? 2 : 3;
    for (int n = step == 1 ? LEAST_DIGITS : 3; n <= MOST && n - 1 <= count; n++) {
        if (lengths >> n & 1) {
            uint64_t value = values[count] - values[count - n + 1] * f->powers[n - 1];
            ask_written(f, mark * f->powers[n] + 10 * value, end - (int64_t)(n - 1) * step, n, step);
        }
    }
}

/* All windows of a row of digits that begins at `at`; where the next row may begin. */
static int64_t row(finder *f, int64_t at, int step) {
    const numbers *s = f->sought;
    uint8_t digits[CHUNK];
    uint64_t values[CHUNK + 1]; /* modulo 2**64, like what is computed of them */
    uint16_t groups[CHUNK];
    int count = 0, whole = 1;
    values[0] = 0;
    for (int64_t place = at; place < f->size && is_digit(f->data[place]); place += step) {
        if (count == CHUNK) {
            whole = 0;
            break;
        }
        digits[count] = f->data[place] - '0';
        values[count + 1] = 10 * values[count] + digits[count];
        count++;
        if (count >= 4) {
            groups[count - 4] = (uint16_t)(1000 * digits[count - 4] + 100 * digits[count - 3] + 10 * digits[count - 2] + digits[count - 1]);
        }
        if (step == 2 && (place + 1 >= f->size || f->data[place + 1])) {
            whole = 2; /* nothing goes on behind it */
            break;
        }
    }
    for (uint32_t lengths = s->plain >> LEAST_DIGITS << LEAST_DIGITS; lengths; lengths &= lengths - 1) {
        int n = __builtin_ctz(lengths), group = s->group[n];
        for (int i = 0, last = whole ? count - n : CHUNK - MOST; i <= last; i++) {
            if (tells(s, n, groups[i + group]) && !all_the_same(digits + i, n)) {
                uint64_t value = values[i + n] - values[i] * f->powers[n];
                ask_written(f, f->powers[n] + value, at + (int64_t)i * step, n, step);
            }
        }
    }
    if (!whole) {
        return at + (int64_t)(CHUNK - MOST + 1) * step;
    }
    if (whole == 1) {
        crossed(f, values, count, at + (int64_t)count * step, step);
    }
    return at + (int64_t)count * step;
}

/* --- written in binary */

/* Ask for the first number of this value: with zeros before it, there may be several. */
static void ask_value(finder *f, uint64_t value, int64_t start, int64_t length, int encoding) {
    const numbers *s = f->sought;
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
        ask(f, f->powers[n] + value, start, length, encoding);
    }
}

static inline void integer(finder *f, uint64_t value, int64_t start, int64_t length, int encoding) {
    if (value >> 32 && within(f, start, length)) {
        ask_value(f, value, start, length, encoding);
    }
}

static void integers(finder *f, const uint64_t masks[RANGES][STRIP_WORDS], int word, int64_t at) {
    const uint64_t *zero = masks[ZERO] + word;
    uint64_t before = ~(uint64_t)0, behind = ~(uint64_t)0;
    uint64_t leading[8], trailing[9];
    for (int i = 0; i < 8; i++) { /* zeros in the first bytes, and in the last of eight */
        leading[i] = before;
        before &= ahead(zero, i);
    }
    for (int i = 8; i > 4; i--) {
        trailing[i] = behind;
        behind &= ahead(zero, i - 1);
    }
    for (int top = 4; top < 8; top++) {
        if (f->sought->lowest[top] > f->sought->highest[top]) {
            continue;
        }
        const uint64_t *first = masks[TOP + top - 4] + word;
        uint64_t little = ahead(first, top) & trailing[top + 1], big = ahead(first, 7 - top) & leading[7 - top];
        while (little) {
            int64_t start = at + next_bit(&little);
            if (start + 8 <= f->size) {
                integer(f, load64(f->data + start), start, 8, INT64_LITTLE);
            }
        }
        while (big) {
            int64_t start = at + next_bit(&big);
            if (start + 8 <= f->size) {
                integer(f, __builtin_bswap64(load64(f->data + start)), start, 8, INT64_BIG);
            }
        }
        if (top > 5) {
            continue;
        }
        uint64_t six = ahead(first, 5 - top) & leading[5 - top];
        while (six) {
            int64_t start = at + next_bit(&six);
            if (start + 6 <= f->size) {
                uint64_t upper = load16(f->data + start), lower = load32(f->data + start + 2);
                uint64_t value = (uint64_t)__builtin_bswap16((uint16_t)upper) << 32 | __builtin_bswap32((uint32_t)lower);
                if (value < (uint64_t)1 << 47) {
                    integer(f, value, start, 6, INT48_BIG);
                }
            }
        }
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

static void numerics(finder *f, const uint64_t masks[RANGES][STRIP_WORDS], int word, int64_t at) {
    const uint64_t *zero = masks[ZERO] + word, *small = masks[SMALL] + word;
    uint64_t odd = ahead(small, 3) & ahead(small, 5) & ahead(small, 7), even = ahead(small, 2) & ahead(small, 4) & ahead(small, 6);
    uint64_t some = ~(zero[0] & ahead(zero, 1));
    uint64_t little = odd & ahead(small, 1) & some, big = even & small[0] & some;
    uint64_t headed = masks[WEIGHT][word] & ahead(masks[HEADER] + word, 1) & odd;
    uint64_t bare = ~some & even & ~(ahead(zero, 2) & ahead(zero, 3));
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

/* Where so many bits follow each other, `step` apart, from each bit on. */
static inline uint64_t in_a_row(unsigned __int128 bits, int count, int step) {
    for (int have = 1; have < count;) {
        int more = have < count - have ? have : count - have;
        bits &= bits >> (more * step);
        have += more;
    }
    return (uint64_t)bits;
}

static inline unsigned __int128 both(const uint64_t *masks) { return (unsigned __int128)masks[1] << 64 | masks[0]; }

/* What begins in 64 bytes. `until` says, for text and for UTF-16 at even and odd places, what is done already. */
static void word_at(finder *f, const uint64_t masks[RANGES][STRIP_WORDS], int word, int64_t at, int64_t until[3]) {
    const uint64_t *zero = masks[ZERO] + word, *digit = masks[DIGIT] + word;
    if (!~(zero[0] & zero[1])) {
        return;
    }
    if (f->text) {
        uint64_t rows = digit[0] ? in_a_row(both(digit), f->text, 1) : 0;
        while (rows) {
            int64_t start = at + next_bit(&rows);
            if (start >= until[0]) {
                until[0] = row(f, start, 1);
            }
        }
    }
    if (f->wide && digit[0] & ahead(zero, 1)) {
        uint64_t rows = in_a_row(both(digit) & both(zero) >> 1, f->wide, 2);
        while (rows) {
            int64_t start = at + next_bit(&rows);
            if (start >= until[1 + start % 2]) {
                until[1 + start % 2] = row(f, start, 2);
            }
        }
    }
    integers(f, masks, word, at);
    if (f->sought->postgres) {
        numerics(f, masks, word, at);
    }
}

static int shortest(uint32_t lengths, int from) {
    lengths = lengths >> from << from;
    return lengths ? __builtin_ctz(lengths) : 2 * MOST;
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

static int is_sound(const numbers *s) {
    for (int n = LEAST_DIGITS; n <= MOST; n++) {
        if (s->group[n] > n - 5) {
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
    finder f = {.sought = sought, .data = data, .size = size, .lead = lead, .core = core};
    f.starts = starts;
    f.ordinals = ordinals;
    f.lengths = lengths;
    f.encodings = encodings;
    prepare(&f);
    byte_range ranges[RANGES] = {{0, 0}, {'0', 9}};
    for (int top = 4; top < 8; top++) {
        int any = sought->lowest[top] <= sought->highest[top];
        ranges[TOP + top - 4] = (byte_range){sought->lowest[top], any ? (uint8_t)(sought->highest[top] - sought->lowest[top]) : 0};
    }
    ranges[SMALL] = (byte_range){0, 0x27}; /* the upper byte of a digit to the base 10,000 */
    ranges[WEIGHT] = (byte_range){2, 2};
    ranges[HEADER] = (byte_range){0x80, 0};
    masks_of *masks_in = masks_at(level);
    uint64_t masks[RANGES][STRIP_WORDS];
    uint8_t padded[STRIP_WORDS * WORD_BYTES];
    int64_t at = state[0];
    for (; at < core && f.found + SPARE < room; at += STRIP * WORD_BYTES) {
        const uint8_t *strip;
        if (!strip_at(data, size, at, padded, &strip)) {
            continue;
        }
        masks_in(strip, ranges, sought->postgres ? RANGES : SMALL, masks);
        for (int word = 0; word < STRIP; word++) {
            word_at(&f, (const uint64_t(*)[STRIP_WORDS])masks, word, at + word * WORD_BYTES, state + 1);
        }
    }
    sift(&f);
    look_up(&f);
    state[0] = at;
    *found = f.found;
    return DONE;
}

/* Where each of these words is among the numbers, or -1. */
int cenotaph_look_up(const numbers *sought, const uint64_t *words, size_t count, int64_t *ordinals) {
    if (!is_sound(sought)) {
        return MALFORMED;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = mixed(sought, words[i]), bits = filter_bits(hash), bucket = hash >> sought->begin_shift;
        ordinals[i] = -1;
        if ((sought->filter[hash >> sought->filter_shift] & bits) != bits) {
            continue;
        }
        for (uint32_t at = sought->begin[bucket]; at < sought->begin[bucket + 1]; at++) {
            if (sought->hashed[at] == hash) {
                ordinals[i] = at;
            }
        }
    }
    return DONE;
}
