/* Rows as bytes, and their keyed digests (spec/record.md, "Row" and "Digest").
 *
 * Rows are written some hundred at a time, a column after the other, each into a slot of its own, padded as SHA-256
 * wants them. Rows that do not fit one are written one after the other into a buffer that a core's cache holds, and a
 * row too long for that goes into its digest piece by piece, and is held nowhere. Whatever the offsets say, nothing is
 * read outside of the buffers: a value that would end behind its buffer, or before it begins, makes the batch
 * malformed. Beneath a null nothing is read at all. */
#include "columns.h"

#include <stdlib.h>

enum {
    ROWS_AT_ONCE = 256,
    SHORT_ROW = 4 * BLOCK_BYTES - 9, /* bytes that a slot has room for, before its padding */
    SLOT = 5 * BLOCK_BYTES,          /* and for one more cell's head, its padding, or the rest of a short copy */
    SHORT_HEAD = 32,                 /* bytes of a column's head: others' rows are too long for slots */
    LONG_ROW = 16 << 10,             /* bytes; longer rows are hashed by themselves */
    WRITTEN = 256 << 10,             /* bytes of rows before they are hashed */
    SLACK = 512,                     /* behind them, as behind a slot */
    SHORT_COPY = 32,                 /* bytes that are copied at once, wanted or not */
};

enum { NULL_CELL = 0x00, DECIMAL = 0x80, LIST = 0xa0, SHORT_COUNT = 27 };

/* A head with what it counts, in it or behind it. */
static inline uint8_t *put_count(uint8_t first, uint64_t count, uint8_t *out) {
    if (count <= SHORT_COUNT) {
        *out = (uint8_t)(first + count);
        return out + 1;
    }
    int size = count <= 0xff ? 1 : count <= 0xffff ? 2 : 4; /* more is refused before it is hashed */
    *out = (uint8_t)(first + SHORT_COUNT + (size + 2) / 2);
    store32(out + 1, (uint32_t)count << (32 - 8 * size));
    return out + 1 + size;
}

/* A number in as few bytes as hold it, behind a head that says how many. */
static inline uint8_t *put_integer(uint8_t first, uint64_t number, uint8_t *out) {
    uint64_t magnitude = number ^ (uint64_t)((int64_t)number >> 63);
    int more = (64 - __builtin_clzll(magnitude | 1)) / 8;
    *out = (uint8_t)(first + more);
    store64(out + 1, number << (56 - 8 * more));
    return out + 2 + more;
}

static uint8_t *put_decimal(uint8_t *out, uint64_t number) {
    uint8_t digits[20];
    uint32_t count = 0;
    do {
        digits[sizeof digits - ++count] = (uint8_t)('0' + number % 10);
    } while (number /= 10);
    *out = (uint8_t)(DECIMAL + count);
    memcpy(out + 1, digits + sizeof digits - count, count);
    return out + 1 + count;
}

static inline uint8_t *put_number(const column *c, const uint8_t *from, uint8_t *out) {
    if (c->head_bytes == 1) { /* nearly always; a copy of unknown length is a call */
        *out = *c->head;
    } else {
        memcpy(out, c->head, c->head_bytes);
    }
    out += c->head_bytes;
    if (c->width == 8) {
        store64(out, load64(from));
    } else {
        for (int64_t i = 0; i < c->width; i++) {
            out[i] = from[c->width - 1 - i];
        }
    }
    return out + c->width;
}

/* The head of bytes, and what is counted in it but precedes the bytes. */
static inline uint8_t *put_head(const column *c, uint64_t bytes, uint8_t *out) {
    uint64_t named = c->head_bytes - 1;
    out = put_count(*c->head, named + bytes, out);
    if (named) {
        memcpy(out, c->head + 1, named);
    }
    return out + named;
}

/* Write what of a cell has no more than MOST_HEAD + 12 bytes, or 40 for heads that are short, and say what follows it;
 * NULL where the buffers are malformed. `how` is the column's, known where this is compiled. */
static inline __attribute__((always_inline)) uint8_t *put_cell(const column *c, int how, uint64_t row, uint8_t *out, rest *r) {
    uint64_t at = (uint64_t)c->first + row;
    r->raw_bytes = 0;
    if (how == NOTHING || !is_valid(c, at)) {
        *out = NULL_CELL;
        return out + 1;
    }
    switch (how) {
    case BITS:
        *out = (uint8_t)(*c->head + (c->data[at >> 3] >> (at & 7) & 1));
        return out + 1;
    case SIGNED:
        return put_integer(*c->head, signed_at(c, at), out);
    case UNSIGNED: {
        uint64_t number = unsigned_at(c, c->data, at);
        return number > INT64_MAX ? put_decimal(out, number) : put_integer(*c->head, number, out);
    }
    case NUMBERS:
        return put_number(c, c->data + at * (uint64_t)c->width, out);
    case OFFSETS32: {
        int32_t start = (int32_t)load32(c->places + 4 * at), end = (int32_t)load32(c->places + 4 * at + 4);
        return span(c->data, c->data_bytes, start, end, r) ? put_head(c, r->raw_bytes, out) : NULL;
    }
    case OFFSETS64: {
        int64_t start = (int64_t)load64(c->places + 8 * at), end = (int64_t)load64(c->places + 8 * at + 8);
        return span(c->data, c->data_bytes, start, end, r) ? put_head(c, r->raw_bytes, out) : NULL;
    }
    case FIXED:
        r->raw = c->data + at * (uint64_t)c->width;
        r->raw_bytes = (uint64_t)c->width;
        r->readable = c->data_bytes - at * (uint64_t)c->width;
        return put_head(c, r->raw_bytes, out);
    case CELLS: {
        int64_t start = (int64_t)load64(c->places + 8 * at), end = (int64_t)load64(c->places + 8 * at + 8);
        return span(c->data, c->data_bytes, start, end, r) ? out : NULL;
    }
    default: { /* INDEXES */
        uint64_t index = unsigned_at(c, c->places, at);
        if (index >= c->cells_bytes / 8 || index + 1 >= c->cells_bytes / 8) {
            return NULL;
        }
        int64_t start = (int64_t)load64(c->cells + 8 * index), end = (int64_t)load64(c->cells + 8 * index + 8);
        return span(c->data, c->data_bytes, start, end, r) ? out : NULL;
    }
    }
}

/* For the few rows that are written one by one. */
static uint8_t *put_any(const column *c, uint64_t row, uint8_t *out, rest *r) { return put_cell(c, c->how, row, out, r); }

static inline void put_raw(const rest *r, uint8_t *out) {
    if (r->raw_bytes <= SHORT_COPY && r->readable >= SHORT_COPY && r->raw_bytes) {
        memcpy(out, r->raw, SHORT_COPY); /* the next cell begins before its end */
    } else if (r->raw_bytes) {
        memcpy(out, r->raw, r->raw_bytes);
    }
}

/* One more cell of a row in a slot. */
static inline __attribute__((always_inline)) int put_one(const column *c, int how, uint64_t row, uint8_t *slot, uint32_t *used) {
    if (*used > SHORT_ROW) {
        return DONE;
    }
    rest r;
    uint8_t *out = put_cell(c, how, row, slot + *used, &r);
    if (out == NULL) {
        return MALFORMED;
    }
    uint64_t so_far = (uint64_t)(out - slot);
    if (so_far > SHORT_ROW || r.raw_bytes > SHORT_ROW - so_far) {
        *used = SLOT;
    } else {
        put_raw(&r, out);
        *used = (uint32_t)(so_far + r.raw_bytes);
    }
    return DONE;
}

/* The same for most cells, which are short, of a row with room, and not at the end of their buffer; 0 for others. */
static inline __attribute__((always_inline)) int put_quick(const column *c, int how, uint64_t row, uint8_t *slot, uint32_t *used) {
    uint64_t at = (uint64_t)c->first + row;
    if (*used > SHORT_ROW - SHORT_COPY || !is_valid(c, at)) {
        return 0;
    }
    uint8_t *out = slot + *used;
    if (how == SIGNED || how == UNSIGNED) {
        uint64_t number = how == SIGNED ? signed_at(c, at) : unsigned_at(c, c->data, at);
        if (how == UNSIGNED && number > INT64_MAX) {
            return 0;
        }
        *used += (uint32_t)(put_integer(*c->head, number, out) - out);
        return 1;
    }
    int64_t start = how == OFFSETS32 ? (int32_t)load32(c->places + 4 * at) : (int64_t)load64(c->places + 8 * at);
    int64_t end = how == OFFSETS32 ? (int32_t)load32(c->places + 4 * at + 4) : (int64_t)load64(c->places + 8 * at + 8);
    uint64_t bytes = (uint64_t)end - (uint64_t)start;
    if (bytes > SHORT_COUNT || (uint64_t)start > c->data_bytes - SHORT_COPY) { /* of which there are as many */
        return 0;
    }
    *out = (uint8_t)(*c->head + bytes);
    memcpy(out + 1, c->data + start, SHORT_COPY);
    *used += 1 + (uint32_t)bytes;
    return 1;
}

/* One column's cells, behind what these rows have so far in their slots. A row that is too long for its slot has used
 * all of it. */
static inline __attribute__((always_inline)) int put_cells(const column *given, int how, uint64_t row, size_t some,
                                                           uint8_t *slots, uint32_t *used) {
    const column c = *given; /* nothing that is written can change it */
    int quick = how == SIGNED || how == UNSIGNED
             || ((how == OFFSETS32 || how == OFFSETS64) && c.head_bytes == 1 && c.data_bytes >= SHORT_COPY);
    for (size_t i = 0; i < some; i++) {
        uint8_t *slot = slots + i * SLOT;
        if (quick && put_quick(&c, how, row + i, slot, &used[i])) {
            continue;
        }
        if (put_one(&c, how, row + i, slot, &used[i]) != DONE) {
            return MALFORMED;
        }
    }
    return DONE;
}

static int put_column(const column *c, uint64_t row, size_t some, uint8_t *slots, uint32_t *used) {
    switch (c->how) {
    case BITS:
        return put_cells(c, BITS, row, some, slots, used);
    case SIGNED:
        return put_cells(c, SIGNED, row, some, slots, used);
    case UNSIGNED:
        return put_cells(c, UNSIGNED, row, some, slots, used);
    case NUMBERS:
        return put_cells(c, NUMBERS, row, some, slots, used);
    case OFFSETS32:
        return put_cells(c, OFFSETS32, row, some, slots, used);
    case OFFSETS64:
        return put_cells(c, OFFSETS64, row, some, slots, used);
    case FIXED:
        return put_cells(c, FIXED, row, some, slots, used);
    case CELLS:
        return put_cells(c, CELLS, row, some, slots, used);
    case INDEXES:
        return put_cells(c, INDEXES, row, some, slots, used);
    default:
        return put_cells(c, NOTHING, row, some, slots, used);
    }
}

/* Write a row of at most LONG_ROW bytes, and give its end; `at` where it is longer, NULL where the buffers are
 * malformed. */
static uint8_t *put_row(const column *columns, size_t width, uint64_t row, uint8_t *at) {
    uint8_t *out = put_count(LIST, width, at), *end = at + LONG_ROW;
    for (size_t i = 0; i < width; i++) {
        rest r;
        out = put_any(&columns[i], row, out, &r);
        if (out == NULL) {
            return NULL;
        }
        if (out > end || r.raw_bytes > (uint64_t)(end - out)) {
            return at;
        }
        put_raw(&r, out);
        out += r.raw_bytes;
    }
    return out;
}

/* A message that is hashed as it comes. */
typedef struct {
    uint32_t state[8];
    uint8_t waiting[2 * BLOCK_BYTES]; /* and its padding */
    uint64_t bytes;
} stream;

static void take(stream *s, const uint8_t *data, uint64_t bytes) {
    uint64_t held = s->bytes % BLOCK_BYTES;
    s->bytes += bytes;
    if (held) {
        uint64_t some = bytes < BLOCK_BYTES - held ? bytes : BLOCK_BYTES - held;
        memcpy(s->waiting + held, data, some);
        if (held + some < BLOCK_BYTES) {
            return;
        }
        sha256_compress(s->state, s->waiting, 1);
        data += some;
        bytes -= some;
    }
    sha256_compress(s->state, data, bytes / BLOCK_BYTES);
    if (bytes % BLOCK_BYTES) {
        memcpy(s->waiting, data + bytes / BLOCK_BYTES * BLOCK_BYTES, bytes % BLOCK_BYTES);
    }
}

/* A row that is longer than what is gathered. */
static int digest_long(const uint32_t keyed[8], const column *columns, size_t width, uint64_t row,
                       uint8_t *digest, int64_t *length) {
    uint8_t head[SLACK];
    stream s = {.bytes = 0};
    memcpy(s.state, keyed, sizeof s.state);
    take(&s, head, (uint64_t)(put_count(LIST, width, head) - head));
    for (size_t i = 0; i < width; i++) {
        const column *c = &columns[i];
        rest r;
        uint8_t *end = put_any(c, row, head, &r);
        if (end == NULL) {
            return MALFORMED;
        }
        if (c->how != CELLS && c->how != INDEXES && r.raw_bytes && r.raw_bytes + c->head_bytes - 1 > UINT32_MAX) {
            return TOO_LONG;
        }
        take(&s, head, (uint64_t)(end - head));
        if (r.raw_bytes) {
            take(&s, r.raw, r.raw_bytes);
        }
    }
    *length = (int64_t)s.bytes;
    uint64_t held = s.bytes % BLOCK_BYTES;
    uint8_t *end = sha256_pad(s.waiting + held, s.waiting, BLOCK_BYTES + s.bytes - held);
    sha256_compress(s.state, s.waiting, (uint64_t)(end - s.waiting) / BLOCK_BYTES);
    sha256_digest(s.state, digest);
    return DONE;
}

/* What a call hashes with, and where to. */
typedef struct {
    int level;
    uint32_t keyed[8];
    const column *columns;
    size_t width;
    uint8_t *slots, *written, *at; /* `at` is where the next row is written that fits no slot */
    message waiting[ROWS_AT_ONCE]; /* such rows */
    size_t count;
    uint8_t *digests;
    int64_t *lengths;
} work;

static message padded(const work *w, uint8_t *at, uint8_t *end, uint64_t row) {
    w->lengths[row] = end - at;
    end = sha256_pad(end, at, BLOCK_BYTES);
    return (message){at, (uint64_t)(end - at) / BLOCK_BYTES, w->digests + DIGEST_BYTES * row};
}

static void hash_waiting(work *w) {
    sha256_many(w->level, w->keyed, w->waiting, w->count);
    w->count = 0;
    w->at = w->written;
}

/* One row that fits no slot. */
static int add_row(work *w, uint64_t row) {
    uint8_t *end = put_row(w->columns, w->width, row, w->at);
    if (end == NULL) {
        return MALFORMED;
    }
    if (end == w->at) {
        return digest_long(w->keyed, w->columns, w->width, row, w->digests + DIGEST_BYTES * row, &w->lengths[row]);
    }
    message *m = &w->waiting[w->count++];
    *m = padded(w, w->at, end, row);
    w->at += m->blocks * BLOCK_BYTES;
    if (w->count == ROWS_AT_ONCE || w->at > w->written + WRITTEN) {
        hash_waiting(w);
    }
    return DONE;
}

/* So many rows, by slots; `longer` counts those that fit none. */
static int add_rows(work *w, uint64_t row, size_t some, size_t *longer) {
    message messages[ROWS_AT_ONCE];
    uint32_t used[ROWS_AT_ONCE];
    size_t count = 0;
    for (size_t i = 0; i < some; i++) {
        uint8_t *slot = w->slots + i * SLOT;
        used[i] = (uint32_t)(put_count(LIST, w->width, slot) - slot);
    }
    for (size_t i = 0; i < w->width; i++) {
        if (put_column(&w->columns[i], row, some, w->slots, used) != DONE) {
            return MALFORMED;
        }
    }
    for (size_t i = 0; i < some; i++) {
        uint8_t *slot = w->slots + i * SLOT;
        if (used[i] <= SHORT_ROW) {
            messages[count++] = padded(w, slot, slot + used[i], row + i);
            continue;
        }
        ++*longer;
        int outcome = add_row(w, row + i);
        if (outcome != DONE) {
            return outcome;
        }
    }
    sha256_many(w->level, w->keyed, messages, count);
    return DONE;
}

static int add_all(work *w, uint64_t rows) {
    int outcome = DONE, slots = 1;
    for (size_t i = 0; i < w->width; i++) {
        slots &= w->columns[i].head_bytes <= SHORT_HEAD;
    }
    for (uint64_t row = 0; row < rows && outcome == DONE;) {
        size_t some = rows - row < ROWS_AT_ONCE ? (size_t)(rows - row) : ROWS_AT_ONCE, longer = 0;
        if (slots) {
            outcome = add_rows(w, row, some, &longer);
            slots = longer <= some / 2; /* else what fills slots is thrown away more often than not */
        } else {
            for (size_t i = 0; i < some && outcome == DONE; i++) {
                outcome = add_row(w, row + i);
            }
        }
        row += some;
    }
    if (outcome == DONE) {
        hash_waiting(w);
    }
    return outcome;
}

/* The digest of each row under a key of one block, and the length of its encoding. */
int cenotaph_digest(int level, const uint8_t *key, const column *columns, size_t width, int64_t rows,
                    uint8_t *digests, int64_t *lengths) {
    work w = {.level = level, .columns = columns, .width = width, .digests = digests, .lengths = lengths};
    if (rows < 0 || width > UINT32_MAX || !cenotaph_level(level)) {
        return MALFORMED;
    }
    for (size_t i = 0; rows && i < width; i++) {
        if (!is_sound(&columns[i], rows)) {
            return MALFORMED;
        }
    }
    w.slots = malloc(ROWS_AT_ONCE * SLOT + WRITTEN + LONG_ROW + SLACK);
    if (w.slots == NULL) {
        return NO_MEMORY;
    }
    w.at = w.written = w.slots + ROWS_AT_ONCE * SLOT;
    memcpy(w.keyed, sha256_initial, sizeof w.keyed);
    sha256_compress(w.keyed, key, 1);
    int outcome = add_all(&w, (uint64_t)rows);
    free(w.slots);
    return outcome;
}
