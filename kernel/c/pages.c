/* Rows of PostgreSQL's tables out of the pages that hold them (PostgreSQL, "Database Page Layout"; bufpage.h, itemid.h,
 * htup_details.h, varatt.h, pg_lzcompress.c, checksum_impl.h).
 *
 * Nothing in a page is trusted: what points outside of its page, or of its row, makes the pages malformed. */
#include "kernel.h"

enum {
    PAGE_HEADER = 24, /* bytes, and behind it the line pointers */
    ROW_HEADER = 23,
    LAYOUT = 4,  /* of pages since PostgreSQL 8.3 */
    ELSEWHERE_TAG = 18, /* VARTAG_ONDISK */
    ELSEWHERE_BYTES = 16, /* varatt_external */
    NORMAL = 1, /* a line pointer that names a row */
    ROWS_TOGETHER = 64,
    SHORT_COPY = 32, /* bytes that are copied at once, wanted or not */
};

/* t_infomask */
enum {
    HAS_NULLS = 0x0001, HAD_OID = 0x0008, KEY_SHARED = 0x0010, EXCLUSIVE = 0x0040, ONLY_LOCKED = 0x0080,
    BORN = 0x0100, NEVER_BORN = 0x0200, LEFT = 0x0400, STAYS = 0x0800, MULTIPLE = 0x1000, MOVED = 0xC000,
};

enum { FIRST_NORMAL = 3 }; /* number of a transaction: those before it are the server's own, and ended long ago */

/* What a row's header leaves open: bits. 0 where the row is there. */
enum { THERE = 0, ASK_BIRTH = 1, ASK_END = 2, ASK_MEMBERS = 4, GONE = 8 };

/* What the hint bits say (heapam_visibility.c, where nobody writes). */
static int state_of(uint16_t mask, uint32_t born, uint32_t ended) {
    int open = THERE;
    if (!(mask & BORN)) {
        if ((mask & NEVER_BORN) || born == 0) {
            return GONE;
        }
        open = born < FIRST_NORMAL ? THERE : ASK_BIRTH;
    }
    if ((mask & (STAYS | ONLY_LOCKED)) || ended == 0) {
        return open;
    }
    /* What servers before 9.3 left: several lockers without a bit that says how, or one that has the bit alone. */
    if (mask & MULTIPLE) {
        return mask & (EXCLUSIVE | KEY_SHARED) ? open | ASK_MEMBERS : open;
    }
    if ((mask & (EXCLUSIVE | KEY_SHARED)) == EXCLUSIVE) {
        return open;
    }
    if (mask & LEFT) {
        return GONE;
    }
    return open | ASK_END;
}

/* Where the rows of `count` pages begin and end that are not surely gone, in the order of their places, and what has to be
 * asked of each. A line pointer takes four bytes, so a page has at most `page` / 4 of them, for which there is room. */
int cenotaph_page_rows(const uint8_t *octets, size_t count, size_t page, int64_t *starts, int64_t *ends, uint8_t *open,
                       size_t *rows) {
    size_t made = 0;
    for (size_t number = 0; number < count; number++) {
        const uint8_t *at = octets + number * page;
        size_t lower = load16(at + 12), upper = load16(at + 14), special = load16(at + 16);
        if (upper == 0) { /* a page that was never written (PageIsNew) */
            for (size_t i = 0; i < page; i += 8) {
                if (load64(at + i)) {
                    return MALFORMED;
                }
            }
            continue;
        }
        if (lower < PAGE_HEADER || lower > upper || upper > special || special > page
            || load16(at + 18) != (page | LAYOUT) || (lower - PAGE_HEADER) % 4) {
            return MALFORMED;
        }
        for (size_t item = PAGE_HEADER; item < lower; item += 4) {
            uint32_t pointer = load32(at + item);
            size_t offset = pointer & 0x7FFF, length = pointer >> 17;
            if ((pointer >> 15 & 3) != NORMAL) {
                continue;
            }
            if (offset < upper || offset % 8 || length <= ROW_HEADER || offset + length > special) {
                return MALFORMED;
            }
            const uint8_t *row = at + offset;
            uint16_t mask = load16(row + 20);
            if (mask & (HAD_OID | MOVED)) {
                return MALFORMED; /* of servers before 12, and before 9.0 */
            }
            int state = state_of(mask, load32(row), load32(row + 4));
            if (state == GONE) {
                continue;
            }
            starts[made] = (int64_t)(number * page + offset);
            ends[made] = starts[made] + (int64_t)length;
            open[made++] = (uint8_t)state;
        }
    }
    *rows = made;
    return DONE;
}

static inline uint64_t aligned(uint64_t at, uint64_t to) { return (at + to - 1) & ~(to - 1); }

/* A value of varying length from `at` on: its payload and that one's length, or what it is instead. Returns where it ends,
 * 0 where that is outside. */
static inline uint64_t varying(const uint8_t *row, uint64_t at, uint64_t size, uint64_t to, int64_t *place, int64_t *length) {
    if (at >= size) {
        return 0;
    }
    if (row[at] == 0) { /* padding, or a long header that needed none */
        at = aligned(at, to);
        if (at >= size) {
            return 0;
        }
    }
    uint8_t first = row[at];
    if (first == 1) { /* kept elsewhere (varattrib_1b_e) */
        if (size - at < 2 || row[at + 1] != ELSEWHERE_TAG || size - at < 2 + ELSEWHERE_BYTES) {
            return 0;
        }
        *place = (int64_t)(at + 2);
        *length = ELSEWHERE;
        return at + 2 + ELSEWHERE_BYTES;
    }
    if (first & 1) {
        uint64_t whole = first >> 1;
        if (whole > size - at) {
            return 0;
        }
        *place = (int64_t)(at + 1);
        *length = (int64_t)whole - 1;
        return at + whole;
    }
    at = aligned(at, to);
    if (size < 4 || at > size - 4) {
        return 0;
    }
    uint64_t whole = load32(row + at) >> 2;
    int packed = (load32(row + at) & 3) == 2;
    if (whole < (packed ? 8 : 4) || whole > size - at) {
        return 0;
    }
    *place = (int64_t)(at + 4);
    *length = packed ? PACKED : (int64_t)whole - 4;
    return at + whole;
}

/* Some rows next to each other: their values are taken an attribute at a time, while they are at hand. */
typedef struct {
    size_t first, count;
    const uint8_t *row[ROWS_TOGETHER];
    uint64_t at[ROWS_TOGETHER];    /* of the next value in its row */
    uint64_t whole[ROWS_TOGETHER]; /* bytes of the row */
    uint64_t behind[ROWS_TOGETHER]; /* bytes that may be read from its beginning on */
    const uint8_t *bits[ROWS_TOGETHER]; /* NULL where it has no nulls */
    size_t has[ROWS_TOGETHER];     /* attributes */
} together;

static inline int is_there(const together *rows, size_t i, size_t a) {
    return a < rows->has[i] && (rows->bits[i] == NULL || (rows->bits[i][a >> 3] >> (a & 7) & 1));
}

/* Which of the rows have a value; the others are null. */
static inline void put_valid(attribute *to, const together *rows, uint64_t there) {
    to->nulls += (int64_t)rows->count - __builtin_popcountll(there);
    memcpy(to->valid + rows->first / 8, &there, (rows->count + 7) / 8);
}

/* Values of `bytes`, which the compiler knows where they are few. */
static inline __attribute__((always_inline)) int fixed(attribute *to, together *rows, const uint8_t *octets, size_t a, size_t bytes) {
    uint64_t align = (uint64_t)to->align, there = 0;
    uint8_t *values = to->there == NULL ? NULL : to->values + rows->first * bytes;
    int8_t *marks = values == NULL ? NULL : to->there + rows->first;
    int64_t *places = to->places == NULL ? NULL : to->places + rows->first;
    int64_t *lengths = to->places == NULL ? NULL : to->lengths + rows->first;
    for (size_t i = 0; i < rows->count; i++) {
        int is = is_there(rows, i, a);
        uint64_t at = aligned(rows->at[i], align);
        if (is && (at > rows->whole[i] || bytes > rows->whole[i] - at)) {
            return 0;
        }
        if (values != NULL) {
            marks[i] = is ? 0 : -1;
            there |= (uint64_t)is << i;
            if (is) {
                memcpy(values + i * bytes, rows->row[i] + at, bytes);
            } else {
                memset(values + i * bytes, 0, bytes);
            }
        } else if (places != NULL) {
            places[i] = is ? rows->row[i] + at - octets : 0;
            lengths[i] = is ? (int64_t)bytes : -1;
        }
        rows->at[i] = is ? at + bytes : rows->at[i];
    }
    if (values != NULL) {
        put_valid(to, rows, there);
    }
    return 1;
}

/* Values that vary, one behind the other. */
static int joined(attribute *to, together *rows, size_t a) {
    uint64_t align = (uint64_t)to->align, there = 0, end = (uint32_t)to->offsets[rows->first], room = to->room;
    uint8_t *values = to->values;
    int32_t *ends = to->offsets + rows->first + 1;
    for (size_t i = 0; i < rows->count; i++) {
        if (is_there(rows, i, a)) {
            int64_t place = 0, length = 0;
            uint64_t at = varying(rows->row[i], rows->at[i], rows->whole[i], align, &place, &length);
            uint64_t bytes = length < 0 ? 0 : (uint64_t)length;
            if (at == 0 || bytes > room - end) {
                return 0;
            }
            const uint8_t *value = rows->row[i] + place;
            if (bytes <= SHORT_COPY && rows->behind[i] - (uint64_t)place >= SHORT_COPY && room - end >= SHORT_COPY) {
                memcpy(values + end, value, SHORT_COPY); /* what is behind it is overwritten by the next one */
            } else {
                memcpy(values + end, value, bytes);
            }
            to->odd += length < 0;
            end += bytes;
            rows->at[i] = at;
            there |= 1ull << i;
        }
        ends[i] = (int32_t)end;
    }
    put_valid(to, rows, there);
    return 1;
}

/* Where values lie that vary; or nowhere. */
static int placed(attribute *to, together *rows, const uint8_t *octets, size_t a) {
    for (size_t i = 0; i < rows->count; i++) {
        int64_t place = 0, length = -1;
        if (is_there(rows, i, a)) {
            rows->at[i] = varying(rows->row[i], rows->at[i], rows->whole[i], (uint64_t)to->align, &place, &length);
            if (rows->at[i] == 0) {
                return 0;
            }
            place += rows->row[i] - octets;
        }
        if (to->places != NULL) {
            to->places[rows->first + i] = place;
            to->lengths[rows->first + i] = length;
            to->odd += length < -1;
        }
    }
    return 1;
}

static int values_of(attribute *to, together *rows, const uint8_t *octets, size_t a) {
    switch (to->length) {
    case -1:
        return to->offsets != NULL ? joined(to, rows, a) : placed(to, rows, octets, a);
    case 1:
        return fixed(to, rows, octets, a, 1);
    case 2:
        return fixed(to, rows, octets, a, 2);
    case 4:
        return fixed(to, rows, octets, a, 4);
    case 8:
        return fixed(to, rows, octets, a, 8);
    default:
        return fixed(to, rows, octets, a, (size_t)to->length);
    }
}

/* Take up to ROWS_TOGETHER rows from the first on; whether they look like rows of so many attributes. */
static int take(together *rows, const uint8_t *octets, uint64_t size, const int64_t *starts, const int64_t *ends, size_t left,
                size_t width) {
    rows->count = left < ROWS_TOGETHER ? left : ROWS_TOGETHER;
    for (size_t i = 0; i < rows->count; i++) {
        int64_t start = starts[rows->first + i], end = ends[rows->first + i];
        if (start < 0 || end < start || (uint64_t)end > size || end - start <= ROW_HEADER) {
            return 0;
        }
        const uint8_t *row = octets + start;
        size_t has = load16(row + 18) & 0x7FF;
        const uint8_t *bits = load16(row + 20) & HAS_NULLS ? row + ROW_HEADER : NULL;
        uint64_t at = row[22], whole = (uint64_t)(end - start);
        if (has > width || at > whole || at % 8 || at < ROW_HEADER + (bits == NULL ? 0 : (has + 7) / 8)) {
            return 0;
        }
        rows->row[i] = row;
        rows->at[i] = at;
        rows->whole[i] = whole;
        rows->behind[i] = size - (uint64_t)start;
        rows->bits[i] = bits;
        rows->has[i] = has;
    }
    return 1;
}

static int is_known(attribute *to) {
    to->nulls = to->odd = 0;
    if (to->offsets != NULL) {
        to->offsets[0] = 0;
    }
    return (to->length == -1 || (to->length > 0 && to->length <= INT16_MAX && to->offsets == NULL))
        && !(to->length == -1 && to->there != NULL) && to->room <= INT32_MAX
        && (to->align == 1 || to->align == 2 || to->align == 4 || to->align == 8);
}

static int is_ascii(const uint8_t *at, size_t size) {
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++) {
        all |= at[i];
    }
    return all < 0x80;
}

/* The values of each row, by attribute. A row that has fewer attributes than there are has null for the others. */
int cenotaph_page_values(const uint8_t *octets, uint64_t size, const int64_t *starts, const int64_t *ends, size_t rows,
                         attribute *attributes, size_t width) {
    for (size_t a = 0; a < width; a++) {
        if (!is_known(&attributes[a])) {
            return MALFORMED;
        }
    }
    together some;
    for (some.first = 0; some.first < rows; some.first += ROWS_TOGETHER) {
        if (!take(&some, octets, size, starts, ends, rows - some.first, width)) {
            return MALFORMED;
        }
        for (size_t a = 0; a < width; a++) {
            if (!values_of(&attributes[a], &some, octets, a)) {
                return MALFORMED;
            }
        }
    }
    for (size_t a = 0; a < width; a++) {
        attribute *to = &attributes[a];
        to->ascii = to->offsets != NULL && is_ascii(to->values, (size_t)to->offsets[rows]);
    }
    return DONE;
}

/* Exactly `room` bytes that were packed by pglz: a control byte, lowest bit first, says of each of the next eight items
 * whether it is a byte, or two or three that repeat what came before. */
int cenotaph_pglz(const uint8_t *packed, size_t size, uint8_t *into, size_t room) {
    size_t at = 0, made = 0;
    while (at < size && made < room) {
        unsigned control = packed[at++];
        for (int item = 0; item < 8 && at < size && made < room; item++, control >>= 1) {
            if (!(control & 1)) {
                into[made++] = packed[at++];
                continue;
            }
            if (size - at < 2) {
                return MALFORMED;
            }
            size_t length = (packed[at] & 15u) + 3, back = (packed[at] & 0xF0u) << 4 | packed[at + 1];
            at += 2;
            if (length == 18) {
                if (at == size) {
                    return MALFORMED;
                }
                length += packed[at++];
            }
            if (back == 0 || back > made) {
                return MALFORMED;
            }
            for (length = length < room - made ? length : room - made; length; length--, made++) {
                into[made] = into[made - back];
            }
        }
    }
    return at == size && made == room ? DONE : MALFORMED;
}

static inline void put16(uint8_t *at, uint16_t v) { at[0] = (uint8_t)(v >> 8); at[1] = (uint8_t)v; }

/* Numerics as the wire has them, one after the other: how many digits, weight, sign, scale, and the digits. `lengths` may
 * be -1 for null; `places` and `lengths` become those in `into`. (numeric.c, NumericData, numeric_send) */
int cenotaph_numerics(const uint8_t *octets, uint64_t size, int64_t *places, int64_t *lengths, size_t rows, uint8_t *into,
                      uint64_t room) {
    uint64_t end = 0;
    for (size_t row = 0; row < rows; row++) {
        if (lengths[row] == -1) {
            places[row] = 0;
            continue;
        }
        if (lengths[row] < 2 || lengths[row] % 2 || places[row] < 0 || (uint64_t)places[row] > size
            || (uint64_t)lengths[row] > size - (uint64_t)places[row]) {
            return MALFORMED;
        }
        const uint8_t *at = octets + places[row];
        uint16_t head = load16(at), weight, sign, scale;
        uint64_t before = head & 0x8000u ? 2 : 4;
        if (before == 2) { /* short, or not a number, or infinite */
            int special = (head & 0xC000u) == 0xC000u;
            sign = special ? head & 0xF000u : head & 0x2000u ? 0x4000u : 0;
            scale = head >> 7 & 0x3Fu;
            weight = (uint16_t)((head & 0x40u ? 0xFFC0u : 0) | (head & 0x3Fu));
        } else {
            if (lengths[row] < 4) {
                return MALFORMED;
            }
            sign = head & 0xC000u;
            scale = head & 0x3FFFu;
            weight = load16(at + 2);
        }
        uint64_t bytes = (uint64_t)lengths[row] - before;
        if (bytes / 2 > INT16_MAX || room - end < 8 + bytes) {
            return MALFORMED;
        }
        uint8_t *out = into + end;
        put16(out, (uint16_t)(bytes / 2));
        put16(out + 2, weight);
        put16(out + 4, sign);
        put16(out + 6, scale);
        for (uint64_t i = 0; i < bytes; i += 2) {
            put16(out + 8 + i, load16(at + before + i));
        }
        places[row] = (int64_t)end;
        lengths[row] = (int64_t)(8 + bytes);
        end += 8 + bytes;
    }
    return DONE;
}

enum { CHECKED_AT_ONCE = 32, CHECKSUM_PRIME = 16777619 };

static const uint32_t seeds[CHECKED_AT_ONCE] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

static inline __attribute__((always_inline)) void mix(uint32_t sums[CHECKED_AT_ONCE], const uint8_t *words) {
    for (size_t i = 0; i < CHECKED_AT_ONCE; i++) {
        uint32_t mixed = sums[i] ^ load32(words + 4 * i);
        sums[i] = mixed * CHECKSUM_PRIME ^ mixed >> 17;
    }
}

/* As the server computes it (pg_checksum_page): the page's own checksum counts as zero. */
static inline __attribute__((always_inline)) uint16_t checksum(const uint8_t *at, size_t page, uint32_t block) {
    enum { ROUND_BYTES = 4 * CHECKED_AT_ONCE };
    static const uint8_t nothing[ROUND_BYTES];
    uint8_t first[ROUND_BYTES];
    uint32_t sums[CHECKED_AT_ONCE];
    memcpy(first, at, sizeof first);
    first[8] = first[9] = 0;
    memcpy(sums, seeds, sizeof sums);
    mix(sums, first);
    for (size_t i = ROUND_BYTES; i < page; i += ROUND_BYTES) {
        mix(sums, at + i);
    }
    mix(sums, nothing);
    mix(sums, nothing);
    uint32_t folded = block;
    for (size_t i = 0; i < CHECKED_AT_ONCE; i++) {
        folded ^= sums[i];
    }
    return (uint16_t)(folded % 65535 + 1);
}

/* How many of the pages have another checksum than they say, but for those that were never written. */
#define WRONG_SUMS(name)                                                                                              \
    static size_t name(const uint8_t *octets, size_t count, size_t page, uint32_t first) {                            \
        size_t wrong = 0;                                                                                             \
        for (size_t i = 0; i < count; i++) {                                                                          \
            const uint8_t *at = octets + i * page;                                                                    \
            wrong += load16(at + 14) != 0 && checksum(at, page, first + (uint32_t)i) != load16(at + 8);               \
        }                                                                                                             \
        return wrong;                                                                                                 \
    }

WRONG_SUMS(baseline_wrong)
#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2")
WRONG_SUMS(avx2_wrong)
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,prefer-vector-width=512")
WRONG_SUMS(avx512_wrong)
#pragma GCC pop_options
#endif

size_t cenotaph_page_sums(int level, const uint8_t *octets, size_t count, size_t page, uint32_t first) {
    switch (level) {
#if defined(__x86_64__)
    case AVX2:
        return avx2_wrong(octets, count, page, first);
    case AVX512:
        return avx512_wrong(octets, count, page, first);
#endif
    default:
        return baseline_wrong(octets, count, page, first);
    }
}
