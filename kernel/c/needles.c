/* Fingerprints of values, and the encoded forms that a search looks for (cenotaph.residue.needles).
 *
 * Only what nearly all values are is done here: text of at most LONGEST characters, and integers. What is left over is
 * said, and made in Python; so is how a text is written in GB18030, which takes a table. */
#include "blake2b.h"
#include "columns.h"

#include <stdlib.h>

enum {
    LONGEST = 64,   /* characters of a text that are searched for */
    SHORTEST = 6,   /* bytes of a form */
    STAGED = 256,   /* messages that wait to be hashed */
    FORM_BYTES = 34,
    SLOT_BITS = 26,
};

enum { UTF8 = 0, UTF16_LITTLE = 1, UTF16_BIG = 2, GB18030 = 3, INT64_LITTLE = 4, INT64_BIG = 5, INT48_BIG = 6, NUMERIC_LITTLE = 8, NUMERIC_BIG = 9 };

/* The secret multipliers, in the order of `_Hash`. */
enum { FIRST, SECOND, MIXER, NARROW, SHORT, SLOTS };

typedef struct {
    int level;
    uint8_t key[32];
    uint64_t start[8], state[8];
    size_t waiting;
    uint8_t *into[STAGED + BLAKE2B_AT_ONCE];
    uint8_t bytes[STAGED + BLAKE2B_AT_ONCE];
    uint64_t words[STAGED + BLAKE2B_AT_ONCE];
    uint8_t blocks[STAGED + BLAKE2B_AT_ONCE][BLAKE2B_BLOCK];
} hasher;

static hasher *new_hasher(int level, const uint8_t *key, const uint8_t *person) {
    hasher *h = calloc(1, sizeof *h);
    if (h != NULL) {
        h->level = level;
        memcpy(h->key, key, sizeof h->key);
        blake2b_keyed(key, person, h->start, h->state);
    }
    return h;
}

static void settle(hasher *h) {
    blake2b_words(h->level, h->state, (const uint8_t(*)[BLAKE2B_BLOCK])h->blocks, h->bytes, h->waiting, h->words);
    for (size_t i = 0; i < h->waiting; i++) {
        memcpy(h->into[i], &h->words[i], sizeof *h->words);
    }
    h->waiting = 0;
}

/* Write the hash of a message to `into`, at once or when many have come together. */
static void hash(hasher *h, const uint8_t *data, uint64_t bytes, void *into) {
    if (!bytes || bytes > BLAKE2B_BLOCK) {
        uint64_t word = blake2b_word(h->start, h->state, h->key, data, bytes);
        memcpy(into, &word, sizeof word);
        return;
    }
    memcpy(h->blocks[h->waiting], data, bytes);
    memset(h->blocks[h->waiting] + bytes, 0, BLAKE2B_BLOCK - bytes);
    h->bytes[h->waiting] = (uint8_t)bytes;
    h->into[h->waiting++] = into;
    if (h->waiting == STAGED) {
        settle(h);
    }
}

static uint64_t decimal(uint64_t number, int negative, uint8_t text[20]) {
    uint8_t digits[20];
    uint64_t count = 0;
    do {
        digits[sizeof digits - ++count] = (uint8_t)('0' + number % 10);
    } while (number /= 10);
    if (negative) {
        digits[sizeof digits - ++count] = '-';
    }
    memcpy(text, digits + sizeof digits - count, count);
    return count;
}

/* A value as text or bytes; `written` holds what is no text in memory. */
static int value(const column *c, uint64_t row, uint8_t written[20], rest *r) {
    uint64_t at = (uint64_t)c->first + row;
    switch (c->how) {
    case OFFSETS32:
        return span(c->data, c->data_bytes, (int32_t)load32(c->places + 4 * at),
                    (int32_t)load32(c->places + 4 * at + 4), r);
    case OFFSETS64:
        return span(c->data, c->data_bytes, (int64_t)load64(c->places + 8 * at),
                    (int64_t)load64(c->places + 8 * at + 8), r);
    case FIXED:
        r->raw = c->data + at * (uint64_t)c->width;
        r->raw_bytes = (uint64_t)c->width;
        return 1;
    default: {
        uint64_t number = c->how == SIGNED ? signed_at(c, at) : unsigned_at(c, c->data, at);
        int negative = c->how == SIGNED && (int64_t)number < 0;
        r->raw = written;
        r->raw_bytes = decimal(negative ? 0 - number : number, negative, written);
        return 1;
    }
    }
}

static int has_values(const column *c, int64_t rows) {
    switch (c->how) {
    case SIGNED:
    case UNSIGNED:
    case OFFSETS32:
    case OFFSETS64:
    case FIXED:
        return is_sound(c, rows);
    default:
        return 0;
    }
}

static inline int is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

enum { MOST_DIGITS = 18 }; /* so that a mark before them leaves them below 2**63 */

/* Eight digits at once (Lemire, "Quickly parsing eight digits"); -1 where one is none. */
static inline int64_t eight_digits(const uint8_t *text) {
    uint64_t word = load64(text), high = 0xf0f0f0f0f0f0f0f0, zeros = 0x3030303030303030;
    if ((word & high) != zeros || ((word + 0x0606060606060606) & high) != zeros) {
        return -1;
    }
    word -= zeros;
    word = word * 10 + (word >> 8);
    uint64_t even = (word & 0x000000ff000000ff) * 0x000f424000000064;
    uint64_t odd = (word >> 16 & 0x000000ff000000ff) * 0x0000271000000001;
    return (int64_t)((even + odd) >> 32);
}

/* Digits, the last of which may be an X, behind a mark: 1 digits alone, 2 X, 3 x. 0 for anything else. */
static uint64_t as_number(const uint8_t *text, uint64_t count, int fold) {
    uint64_t number = 0, mark = 1, power = 1, at = 0;
    if (!count || count > MOST_DIGITS) {
        return 0;
    }
    for (; count - at > 8; at += 8, power *= 100000000) {
        int64_t digits = eight_digits(text + at);
        if (digits < 0) {
            return 0;
        }
        number = 100000000 * number + (uint64_t)digits;
    }
    for (; at < count; at++, power *= 10) {
        uint8_t digit = (uint8_t)(text[at] - '0');
        if (digit > 9) {
            if (!at || at + 1 < count || (text[at] != 'X' && text[at] != 'x')) {
                return 0;
            }
            mark = text[at] == 'X' || fold ? 2 : 3;
            digit = 0;
        }
        number = 10 * number + digit;
    }
    return mark * power + number;
}

static void without_space(rest *r) {
    for (; r->raw_bytes && is_space(r->raw[0]); r->raw_bytes--) {
        r->raw++;
    }
    for (; r->raw_bytes && is_space(r->raw[r->raw_bytes - 1]); r->raw_bytes--) {
    }
}

/* Each value that is a number (cenotaph.residue.sought) as one word, and whether it is: 0 null or empty, 1 something
 * else, 2 a number. Where `fold` is set, a value is taken without the white space around it, and in capitals. */
int cenotaph_numbers(const column *c, int fold, int64_t rows, uint64_t *words, uint8_t *there) {
    if (rows < 0 || (rows && !has_values(c, rows))) {
        return MALFORMED;
    }
    for (uint64_t row = 0; row < (uint64_t)rows; row++) {
        uint8_t written[20];
        rest r;
        words[row] = 0;
        there[row] = 0;
        if (!is_valid(c, (uint64_t)c->first + row)) {
            continue;
        }
        if (!value(c, row, written, &r)) {
            return MALFORMED;
        }
        there[row] = r.raw_bytes ? 1 : 0;
        if (fold) {
            without_space(&r);
        }
        words[row] = as_number(r.raw, r.raw_bytes, fold);
        there[row] = words[row] ? 2 : there[row];
    }
    return DONE;
}

/* The keyed hash of each value, and whether there is one: 0 null, 1 empty, 2 more. Where `fold` is set, a value is
 * taken without the white space around it, and in capitals, as far as ASCII has them. */
int cenotaph_fingerprints(int level, const uint8_t *key, const uint8_t *person, int fold, const column *c,
                          int64_t rows, uint64_t *words, uint8_t *there) {
    if (rows < 0 || !cenotaph_level(level) || (rows && !has_values(c, rows))) {
        return MALFORMED;
    }
    hasher *h = new_hasher(level, key, person);
    uint8_t *folded = NULL;
    uint64_t room = 0;
    int outcome = h == NULL ? NO_MEMORY : DONE;
    for (uint64_t row = 0; row < (uint64_t)rows && outcome == DONE; row++) {
        uint8_t written[20];
        rest r;
        words[row] = 0;
        there[row] = 0;
        if (!is_valid(c, (uint64_t)c->first + row)) {
            continue;
        }
        if (!value(c, row, written, &r)) {
            outcome = MALFORMED;
            break;
        }
        there[row] = r.raw_bytes ? 2 : 1;
        if (fold) {
            without_space(&r);
            if (r.raw_bytes > room) {
                free(folded);
                room = 2 * r.raw_bytes;
                folded = malloc(room);
                if (folded == NULL) {
                    outcome = NO_MEMORY;
                    break;
                }
            }
            for (uint64_t i = 0; i < r.raw_bytes; i++) {
                uint8_t byte = r.raw[i];
                folded[i] = (uint8_t)(byte >= 'a' && byte <= 'z' ? byte - 32 : byte);
            }
            r.raw = folded;
        }
        hash(h, r.raw, r.raw_bytes, &words[row]);
    }
    if (outcome == DONE) {
        settle(h);
    }
    free(folded);
    free(h);
    return outcome;
}

/* The keyed hashes of these parts of some bytes. */
int cenotaph_names(int level, const uint8_t *key, const uint8_t *person, const uint8_t *data, uint64_t size, const int64_t *starts,
                   const int64_t *lengths, size_t count, uint64_t *words) {
    if (!cenotaph_level(level)) {
        return MALFORMED;
    }
    hasher *h = new_hasher(level, key, person);
    int outcome = h == NULL ? NO_MEMORY : DONE;
    for (size_t i = 0; i < count && outcome == DONE; i++) {
        if (starts[i] < 0 || lengths[i] < 0 || (uint64_t)starts[i] > size || (uint64_t)lengths[i] > size - (uint64_t)starts[i]) {
            outcome = MALFORMED;
        } else {
            hash(h, data + starts[i], (uint64_t)lengths[i], &words[i]);
        }
    }
    if (outcome == DONE) {
        settle(h);
    }
    free(h);
    return outcome;
}

static uint32_t distinct(const uint8_t *bytes, uint32_t count) {
    uint64_t seen[4] = {0};
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bit = (uint64_t)1 << (bytes[i] & 63), *word = &seen[bytes[i] >> 6];
        found += !(*word & bit);
        *word |= bit;
    }
    return found;
}

/* Where the window begins whose six bytes differ most, at `end` at most; the last of several. */
static uint32_t telling_window(const uint8_t *form, uint32_t end, uint32_t width, uint32_t six) {
    uint32_t best = 0, most = 0;
    for (uint32_t at = 0; at <= end; at++) {
        uint32_t tells = distinct(form + at + six, 6) << 8 | distinct(form + at, width);
        if (tells >= most) {
            most = tells;
            best = at;
        }
    }
    return best;
}

/* What is stored of one form, but for the hash of the whole, which follows. */
static void put_form(const uint64_t *secrets, const uint8_t *form, uint32_t bytes, int encoding, int kind,
                     int from_start, uint64_t needle, uint8_t *out) {
    uint32_t last = bytes - (encoding == UTF16_LITTLE && bytes > SHORTEST);
    uint32_t width = last >= 16 ? 16 : last >= 8 ? 8 : 6, window = from_start ? 0 : last - width;
    uint32_t looked = width == 16 ? 10 : width == 8 && encoding != INT64_LITTLE ? 2 : 0;
    uint64_t words[2] = {0, 0}, six = 0, spread;
    if (distinct(form + window + looked, 6) == 1) {
        window = telling_window(form, last - width, width, looked);
    }
    memcpy(words, form + window, width);
    memcpy(&six, form + window + looked, 6);
    if (width == 16) {
        spread = words[0] * secrets[FIRST] + words[1] * secrets[SECOND];
    } else {
        spread = words[0] * secrets[width == 8 ? NARROW : SHORT];
    }
    uint64_t mixed = (spread ^ spread >> 29) * secrets[MIXER];
    uint64_t tag = (spread >> (64 - SLOT_BITS) << (64 - SLOT_BITS)) | mixed >> SLOT_BITS;
    uint32_t slot = (uint32_t)(six * secrets[SLOTS] >> 32);
    uint16_t place = (uint16_t)window, length = (uint16_t)bytes;
    memcpy(out + 8, &needle, 8);
    memcpy(out + 16, &tag, 8);
    memcpy(out + 24, &slot, 4);
    memcpy(out + 28, &place, 2);
    memcpy(out + 30, &length, 2);
    out[32] = (uint8_t)encoding;
    out[33] = (uint8_t)kind;
}

typedef struct {
    const uint64_t *secrets;
    hasher *hashes;
    int kind;
    int from_start;
    int postgres; /* sought in PostgreSQL's own forms, too */
    uint8_t *out; /* forms, one after the other */
    uint64_t *skipped;
} writer;

static void form(writer *w, const uint8_t *data, uint32_t bytes, int encoding, int telling, uint64_t needle) {
    if (!telling || bytes < SHORTEST) {
        w->skipped[encoding]++;
        return;
    }
    put_form(w->secrets, data, bytes, encoding, w->kind, w->from_start, needle, w->out);
    hash(w->hashes, data, bytes, w->out);
    w->out += FORM_BYTES;
}

/* How many bytes are not zero: small numbers side by side are everywhere (cenotaph.residue.postgres_forms). */
static uint32_t filled(const uint8_t *data, uint32_t bytes) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        count += data[i] != 0;
    }
    return count;
}

/* How PostgreSQL writes a number (cenotaph.residue.postgres_forms): to the base 10,000, zeros at its end left out. */
static void numeric_forms(writer *w, const uint8_t *digits, uint32_t count, uint64_t needle) {
    uint8_t little[2 + LONGEST], big[2 + LONGEST];
    uint32_t bytes = 2, groups, written;
    for (; count && *digits == '0'; count--) {
        digits++;
    }
    groups = (count + 3) / 4;
    for (uint32_t at = 0, group = 0; group < groups; group++) {
        uint32_t end = count - 4 * (groups - 1 - group), number = 0;
        for (; at < end; at++) {
            number = 10 * number + (uint32_t)(digits[at] - '0');
        }
        little[bytes] = big[bytes + 1] = (uint8_t)number;
        little[bytes + 1] = big[bytes] = (uint8_t)(number >> 8);
        bytes += 2;
    }
    for (; bytes > 2 && !little[bytes - 2] && !little[bytes - 1];) {
        bytes -= 2;
    }
    written = (bytes - 2) / 2;
    little[0] = (uint8_t)((groups - 1) & 0x7f);
    little[1] = 0x80;
    big[0] = big[1] = 0;
    uint32_t from = written < 4 ? 0 : 2; /* few digits say too little without what is before them */
    int enough = written >= 3, little_says = filled(little + from, bytes - from) >= 5;
    int big_says = filled(big + from, bytes - from) >= 5;
    form(w, little + from, bytes - from, NUMERIC_LITTLE, enough && little_says, needle);
    form(w, big + from, bytes - from, NUMERIC_BIG, enough && big_says, needle);
}

/* Whether it may be a UUID or an address, which PostgreSQL writes as it writes nothing else. */
static int may_be_address(const uint8_t *text, uint64_t count) {
    int digits = 1;
    for (uint64_t i = 0; i < count; i++) {
        int digit = text[i] >= '0' && text[i] <= '9';
        int letter = (text[i] >= 'a' && text[i] <= 'f') || (text[i] >= 'A' && text[i] <= 'F');
        digits &= digit;
        if (!digit && !letter && text[i] != ':' && text[i] != '.' && text[i] != '-') {
            return 0;
        }
    }
    return !digits;
}

/* The forms of a number of less than twenty digits. */
static void integer_forms(writer *w, const uint8_t *digits, uint32_t count, uint64_t needle) {
    uint8_t integer[8];
    uint64_t number = 0;
    for (uint32_t i = 0; i < count; i++) {
        number = 10 * number + (uint64_t)(digits[i] - '0');
    }
    if (number > INT64_MAX) {
        return;
    }
    int telling = number >= (uint64_t)1 << 32;
    memcpy(integer, &number, 8);
    form(w, integer, 8, INT64_LITTLE, telling, needle);
    store64(integer, number);
    form(w, integer, 8, INT64_BIG, telling, needle);
    if (number < (uint64_t)1 << 47) {
        form(w, integer + 2, 6, INT48_BIG, telling, needle);
    }
}

/* The forms of a value of ASCII. */
static void forms_of(writer *w, const uint8_t *text, uint32_t count, uint64_t needle) {
    uint8_t wide[2 * LONGEST + 1] = {0};
    int telling = 0, digits = 1;
    for (uint32_t i = 0; i < count; i++) {
        wide[2 * i + 1] = text[i];
        telling |= text[i] != text[0];
        digits &= text[i] >= '0' && text[i] <= '9';
    }
    int wide_tells = telling && !(digits && count < SHORTEST);
    form(w, text, count, UTF8, telling, needle);
    form(w, wide + 1, 2 * count, UTF16_LITTLE, wide_tells, needle);
    form(w, wide, 2 * count, UTF16_BIG, wide_tells, needle);
    if (digits && count < 20) {
        integer_forms(w, text, count, needle);
    }
    if (digits && w->postgres) {
        numeric_forms(w, text, count, needle);
    }
}

typedef struct {
    uint32_t bytes; /* of UTF-16 */
    int telling;    /* of more than one character */
    uint8_t little[4 * LONGEST];
    uint8_t big[4 * LONGEST];
} wide;

static void put_unit(wide *w, uint32_t unit) {
    w->little[w->bytes] = w->big[w->bytes + 1] = (uint8_t)unit;
    w->little[w->bytes + 1] = w->big[w->bytes] = (uint8_t)(unit >> 8);
    w->bytes += 2;
}

/* A text as UTF-16; 0 where it is not UTF-8 (RFC 3629), or too long. */
static int widen(const uint8_t *text, uint64_t count, wide *w) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t first = 0, characters = 0;
    w->bytes = 0;
    w->telling = 0;
    for (uint64_t at = 0; at < count; characters++) {
        uint8_t lead = text[at];
        uint32_t bytes = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
        if (!bytes || bytes > count - at || characters == LONGEST) {
            return 0;
        }
        uint32_t point = bytes == 1 ? lead : lead & (0x7fu >> bytes);
        for (uint32_t i = 1; i < bytes; i++) {
            if ((text[at + i] & 0xc0) != 0x80) {
                return 0;
            }
            point = point << 6 | (text[at + i] & 0x3f);
        }
        if (point < least[bytes] || point > 0x10ffff || point >> 11 == 0x1b) {
            return 0;
        }
        if (point < 0x10000) {
            put_unit(w, point);
        } else {
            put_unit(w, 0xd800 + ((point - 0x10000) >> 10));
            put_unit(w, 0xdc00 + ((point - 0x10000) & 0x3ff));
        }
        first = at ? first : point;
        w->telling |= point != first;
        at += bytes;
    }
    return 1;
}

/* The forms of a text that is not all ASCII, which `national` has in GB18030. */
static int text_forms(writer *w, const rest *text, const rest *national, uint64_t needle) {
    wide as;
    if (text->raw_bytes > 4 * LONGEST || national->raw_bytes > 4 * LONGEST
        || !widen(text->raw, text->raw_bytes, &as)) {
        return 0;
    }
    form(w, text->raw, (uint32_t)text->raw_bytes, UTF8, as.telling, needle);
    form(w, as.little, as.bytes, UTF16_LITTLE, as.telling, needle);
    form(w, as.big, as.bytes, UTF16_BIG, as.telling, needle);
    form(w, national->raw, (uint32_t)national->raw_bytes, GB18030, as.telling, needle);
    return 1;
}

/* The forms of the values in these rows, whose names are given: FORM_BYTES each, at most MOST_FORMS a value. `national`
 * has those that are not ASCII in GB18030, one for each that is wanted. `done` says which values the forms are of; the
 * others are no text, too long, not in `national`, or perhaps an address of PostgreSQL's. */
int cenotaph_forms(int level, const uint8_t *key, const uint8_t *person, const uint64_t *secrets, int kind,
                   int from_start, int postgres, const column *c, int64_t rows, const column *national,
                   const int64_t *wanted, size_t count, const uint64_t *names, uint8_t *forms, size_t *made,
                   uint64_t *skipped, uint8_t *done) {
    if (rows < 0 || !cenotaph_level(level) || (rows && !has_values(c, rows))
        || (count && !has_values(national, (int64_t)count))) {
        return MALFORMED;
    }
    hasher *h = new_hasher(level, key, person);
    if (h == NULL) {
        return NO_MEMORY;
    }
    writer w = {secrets, h, kind, from_start, postgres, forms, skipped};
    int outcome = DONE;
    for (size_t i = 0; i < count; i++) {
        uint8_t written[20], high = 0;
        rest r;
        done[i] = 0;
        if (wanted[i] < 0 || wanted[i] >= rows || !is_valid(c, (uint64_t)(c->first + wanted[i]))
            || !value(c, (uint64_t)wanted[i], written, &r)) {
            outcome = MALFORMED;
            break;
        }
        if (!r.raw_bytes || r.raw_bytes > 4 * LONGEST) {
            continue;
        }
        for (uint64_t j = 0; j < r.raw_bytes; j++) {
            high |= r.raw[j];
        }
        if (high >= 0x80) {
            uint8_t unused[20];
            rest encoded;
            if (is_valid(national, (uint64_t)national->first + i) && value(national, i, unused, &encoded)) {
                done[i] = (uint8_t)text_forms(&w, &r, &encoded, names[i]);
            }
        } else if (r.raw_bytes <= LONGEST && !(postgres && may_be_address(r.raw, r.raw_bytes))) {
            done[i] = 1;
            forms_of(&w, r.raw, (uint32_t)r.raw_bytes, names[i]);
        }
    }
    settle(h);
    *made = (size_t)(w.out - forms) / FORM_BYTES;
    free(h);
    return outcome;
}
