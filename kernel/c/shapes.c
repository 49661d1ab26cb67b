/* The search for bytes shaped as a person (cenotaph.residue.shapes, which says what is one): an identity number or a
 * mobile number of China, in ASCII or UTF-16, that no other digit precedes or follows. */
#include "masks.h"

enum { ID = 18, PHONE = 11, ABROAD = 13, LONGEST_ROW = 19 };
enum { ZERO, DIGIT, RANGES };
enum { UTF8 = 0, UTF16_LITTLE = 1 };

typedef struct {
    const uint8_t *data;
    int64_t size, lead, core, found, room;
    int64_t *starts;
    uint64_t *words;
    uint8_t *lengths, *encodings;
} finder;

static const char checks[] = "10X98765432"; /* by the weighted sum modulo 11 (ISO 7064) */

static int is_province(uint32_t code) { /* GB/T 2260 */
    return (code >= 11 && code <= 15) || (code >= 21 && code <= 23) || (code >= 31 && code <= 37) || (code >= 41 && code <= 46)
           || (code >= 50 && code <= 54) || (code >= 61 && code <= 65) || code == 71 || (code >= 81 && code <= 83);
}

static uint32_t read(const uint8_t *digits, int from, int count) {
    uint32_t number = 0;
    for (int i = from; i < from + count; i++) {
        number = 10 * number + digits[i];
    }
    return number;
}

static int is_identity(const uint8_t *digits, uint8_t last) {
    static const uint8_t weights[17] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
    static const uint8_t days[13] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t year = read(digits, 6, 4), month = read(digits, 10, 2), day = read(digits, 12, 2), sum = 0;
    if (year < 1900 || year > 2099 || month < 1 || month > 12 || day < 1 || day > days[month] || !is_province(read(digits, 0, 2))) {
        return 0;
    }
    for (int i = 0; i < 17; i++) {
        sum += weights[i] * (uint32_t)digits[i];
    }
    return checks[sum % 11] == last;
}

static void found(finder *f, int64_t start, int count, int step, const uint8_t *digits, int crossed) {
    uint64_t number = 0, power = 1;
    if (start < f->lead || start >= f->core) {
        return;
    }
    for (int i = 0; i < count; i++, power *= 10) {
        number = 10 * number + (crossed && i == count - 1 ? 0 : digits[i]);
    }
    f->starts[f->found] = start;
    f->words[f->found] = (crossed ? 2 : 1) * power + number;
    f->lengths[f->found] = (uint8_t)(count * step);
    f->encodings[f->found++] = step == 1 ? UTF8 : UTF16_LITTLE;
}

/* A character of UTF-16, or 0 where it is not in ASCII; one that is cut off is none. */
static inline int character(const finder *f, int64_t at, int step) {
    if (at + step > f->size || (step == 2 && f->data[at + 1])) {
        return 0;
    }
    return f->data[at];
}

static void shaped(finder *f, int64_t at, int step, const uint8_t *digits, int count, int64_t end) {
    if (count == ID && is_identity(digits, (uint8_t)(digits[ID - 1] + '0'))) {
        found(f, at, ID, step, digits, 0);
    }
    if (count == ID - 1 && (character(f, end, step) | 0x20) == 'x' && is_identity(digits, 'X')) {
        found(f, at, ID, step, digits, 1);
    }
    int before = count == ABROAD && digits[0] == 8 && digits[1] == 6 ? 2 : 0;
    if (count - before == PHONE && digits[before] == 1 && digits[before + 1] >= 3) {
        found(f, at + before * step, PHONE, step, digits + before, 0);
    }
}

/* The row of digits that begins at `at`, and where it ends. */
static int64_t row(finder *f, int64_t at, int step) {
    uint8_t digits[LONGEST_ROW];
    int count = 0;
    int64_t end = at;
    for (int letter; (uint8_t)((letter = character(f, end, step)) - '0') <= 9; end += step) {
        if (count < LONGEST_ROW) {
            digits[count++] = (uint8_t)(letter - '0');
        }
    }
    shaped(f, at, step, digits, count, end);
    return end;
}

/* As above, where it is known that there are so many digits of one byte. */
static int64_t known_row(finder *f, int64_t at, int count) {
    uint8_t digits[ID];
    if (count == PHONE || count == ABROAD || count == ID - 1 || count == ID) {
        for (int i = 0; i < count; i++) {
            digits[i] = (uint8_t)(f->data[at + i] - '0');
        }
        shaped(f, at, 1, digits, count, at + count);
    }
    return at + count;
}

static inline uint64_t in_a_row(unsigned __int128 bits, int step) { /* PHONE of them, `step` apart */
    bits &= bits >> step;
    bits &= bits >> (2 * step);
    bits &= bits >> (4 * step);
    bits &= bits >> (3 * step);
    return (uint64_t)bits;
}

static inline unsigned __int128 both(const uint64_t *masks) { return (unsigned __int128)masks[1] << 64 | masks[0]; }

/* Shapes that begin at `lead` or later, before `core`; the bytes around them are looked at. `state` says where to go on, and
 * what was done of text, and of UTF-16 at even and odd places. Each comes as a word (cenotaph_numbers). */
int cenotaph_find_shapes(int level, const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *state,
                         int64_t *starts, uint64_t *words, uint8_t *lengths, uint8_t *encodings, int64_t room, int64_t *count) {
    enum { SPARE = STRIP * WORD_BYTES }; /* more than begins in one strip */
    if (!cenotaph_level(level) || size < 0 || lead < 0 || core > size || state[0] < 0 || room < 2 * SPARE) {
        return MALFORMED;
    }
    finder f = {data, size, lead, core, 0, room, starts, words, lengths, encodings};
    static const byte_range ranges[RANGES] = {{0, 0}, {'0', 9}};
    masks_of *masks_in = masks_at(level);
    uint64_t masks[RANGES][STRIP_WORDS];
    uint8_t padded[STRIP_WORDS * WORD_BYTES];
    int64_t at = state[0];
    for (; at < core && f.found + SPARE < room; at += STRIP * WORD_BYTES) {
        const uint8_t *strip;
        if (!strip_at(data, size, at, padded, &strip)) {
            continue;
        }
        masks_in(strip, ranges, RANGES, masks);
        for (int word = 0; word < STRIP; word++) {
            const uint64_t *zero = masks[ZERO] + word, *digit = masks[DIGIT] + word;
            int64_t here = at + word * WORD_BYTES;
            uint64_t rows = digit[0] ? in_a_row(both(digit), 1) : 0;
            while (rows) {
                int bit = next_bit(&rows);
                int64_t start = here + bit;
                if (start >= state[1]) {
                    uint64_t others = ~ahead(digit, bit);
                    state[1] = others ? known_row(&f, start, __builtin_ctzll(others)) : row(&f, start, 1);
                }
            }
            rows = digit[0] & ahead(zero, 1) ? in_a_row(both(digit) & both(zero) >> 1, 2) : 0;
            while (rows) {
                int64_t start = here + next_bit(&rows);
                if (start >= state[2 + start % 2]) {
                    state[2 + start % 2] = row(&f, start, 2);
                }
            }
        }
    }
    state[0] = at;
    *count = f.found;
    return DONE;
}
