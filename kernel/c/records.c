/* Rows as bytes, and their keyed digests (spec/record.md, "Row" and "Digest").
 *
 * Rows are written one after the other into a buffer that a core's cache holds, padded as SHA-256 wants
 * them, and hashed when it is full. A row too long for that goes into its digest piece by piece, and is held
 * nowhere. Whatever the offsets say, nothing is read outside of the buffers: a value that would end behind
 * its buffer, or before it begins, makes the batch malformed. Beneath a null nothing is read at all. */
#include "columns.h"

#include <stdlib.h>

enum {
    ROWS_AT_ONCE = 1024,
    LONG_ROW = 16 << 10, /* bytes; longer rows are hashed by themselves */
    WRITTEN = 256 << 10, /* bytes of rows before they are hashed */
    SLACK = 512,         /* behind a row: one more cell's head, its padding, or the rest of a short copy */
    SHORT_COPY = 32,     /* bytes that are copied at once, wanted or not */
};

enum { NULL_CELL = 0x00, INTEGER = 0x02, DECIMAL = 0x03 };

static uint8_t *put_decimal(uint8_t *out, uint64_t number) {
    uint8_t digits[20];
    uint32_t count = 0;
    do {
        digits[sizeof digits - ++count] = (uint8_t)('0' + number % 10);
    } while (number /= 10);
    *out = DECIMAL;
    store32(out + 1, count);
    memcpy(out + 5, digits + sizeof digits - count, count);
    return out + 5 + count;
}

static inline uint8_t *put_number(const column *c, const uint8_t *from, uint8_t *out) {
    if (c->head_bytes == 1) { /* nearly always; a copy of unknown length is a call */
        *out = *c->head;
    } else {
        memcpy(out, c->head, c->head_bytes);
    }
    out += c->head_bytes;
    if (c->width == 8) {
        uint64_t number = __builtin_bswap64(load64(from));
        memcpy(out, &number, 8);
    } else {
        for (int64_t i = 0; i < c->width; i++) {
            out[i] = from[c->width - 1 - i];
        }
    }
    out += c->width;
    if (c->tail >= 0) {
        *out++ = (uint8_t)c->tail;
    }
    return out;
}

/* The head of bytes: tag, length, and what belongs to the length but precedes the bytes. */
static inline uint8_t *put_head(const column *c, uint64_t bytes, uint8_t *out) {
    uint64_t named = c->head_bytes - 1;
    *out = *c->head;
    store32(out + 1, (uint32_t)(named + bytes)); /* what does not fit makes the row too long */
    if (named) {
        memcpy(out + 5, c->head + 1, named);
    }
    return out + 5 + named;
}

/* Write what of a cell has no more than MOST_HEAD + 12 bytes, and say what follows it; NULL where the buffers
 * are malformed. */
static inline uint8_t *put_cell(const column *c, uint64_t row, uint8_t *out, rest *r) {
    uint64_t at = (uint64_t)c->first + row;
    r->raw_bytes = 0;
    if (!is_valid(c, at)) {
        *out = NULL_CELL;
        return out + 1;
    }
    switch (c->how) {
    case BITS:
        *out = *c->head;
        out[1] = c->data[at >> 3] >> (at & 7) & 1;
        return out + 2;
    case SIGNED:
        *out = INTEGER;
        store64(out + 1, signed_at(c, at));
        return out + 9;
    case UNSIGNED: {
        uint64_t number = unsigned_at(c, c->data, at);
        if (number > INT64_MAX) {
            return put_decimal(out, number);
        }
        *out = INTEGER;
        store64(out + 1, number);
        return out + 9;
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
    case INDEXES: {
        uint64_t index = unsigned_at(c, c->places, at);
        if (index >= c->cells_bytes / 8 || index + 1 >= c->cells_bytes / 8) {
            return NULL;
        }
        int64_t start = (int64_t)load64(c->cells + 8 * index), end = (int64_t)load64(c->cells + 8 * index + 8);
        return span(c->data, c->data_bytes, start, end, r) ? out : NULL;
    }
    default: /* NOTHING */
        *out = NULL_CELL;
        return out + 1;
    }
}

/* Write a row of at most LONG_ROW bytes, and give its end; `at` where it is longer, NULL where the buffers are
 * malformed. */
static uint8_t *put_row(const column *columns, size_t width, uint64_t row, uint8_t *at) {
    uint8_t *out = at + 4, *end = at + LONG_ROW;
    for (size_t i = 0; i < width; i++) {
        rest r;
        out = put_cell(&columns[i], row, out, &r);
        if (out == NULL) {
            return NULL;
        }
        if (out > end || r.raw_bytes > (uint64_t)(end - out)) {
            return at;
        }
        if (r.raw_bytes <= SHORT_COPY && r.readable >= SHORT_COPY && r.raw_bytes) {
            memcpy(out, r.raw, SHORT_COPY); /* the next cell begins before its end */
        } else if (r.raw_bytes) {
            memcpy(out, r.raw, r.raw_bytes);
        }
        out += r.raw_bytes;
    }
    store32(at, (uint32_t)(out - at - 4));
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

/* Twice over the row, since its length comes first. */
static int digest_long(const uint32_t keyed[8], const column *columns, size_t width, uint64_t row,
                       uint8_t *digest, int64_t *length) {
    uint8_t head[SLACK];
    uint64_t bytes = 0;
    for (size_t i = 0; i < width; i++) {
        rest r;
        uint8_t *end = put_cell(&columns[i], row, head, &r);
        if (end == NULL) {
            return MALFORMED;
        }
        bytes += (uint64_t)(end - head) + r.raw_bytes;
        if (bytes > UINT32_MAX) {
            return TOO_LONG;
        }
    }
    stream s = {.bytes = 0};
    memcpy(s.state, keyed, sizeof s.state);
    store32(head, (uint32_t)bytes);
    take(&s, head, 4);
    for (size_t i = 0; i < width; i++) {
        rest r;
        uint8_t *end = put_cell(&columns[i], row, head, &r);
        take(&s, head, (uint64_t)(end - head));
        if (r.raw_bytes) {
            take(&s, r.raw, r.raw_bytes);
        }
    }
    uint64_t held = s.bytes % BLOCK_BYTES;
    uint8_t *end = sha256_pad(s.waiting + held, s.waiting, BLOCK_BYTES + s.bytes - held);
    sha256_compress(s.state, s.waiting, (uint64_t)(end - s.waiting) / BLOCK_BYTES);
    sha256_digest(s.state, digest);
    *length = 4 + (int64_t)bytes;
    return DONE;
}

/* The digest of each row under a key of one block, and the length of its encoding. */
int cenotaph_digest(int level, const uint8_t *key, const column *columns, size_t width, int64_t rows,
                    uint8_t *digests, int64_t *lengths) {
    uint32_t keyed[8];
    message messages[ROWS_AT_ONCE];
    if (rows < 0 || !cenotaph_level(level)) {
        return MALFORMED;
    }
    for (size_t i = 0; rows && i < width; i++) {
        if (!is_sound(&columns[i], rows)) {
            return MALFORMED;
        }
    }
    uint8_t *written = malloc(WRITTEN + LONG_ROW + SLACK);
    if (written == NULL) {
        return NO_MEMORY;
    }
    memcpy(keyed, sha256_initial, sizeof keyed);
    sha256_compress(keyed, key, 1);
    int outcome = DONE;
    size_t waiting = 0;
    uint8_t *at = written;
    for (uint64_t row = 0; row < (uint64_t)rows && outcome == DONE; row++) {
        uint8_t *end = put_row(columns, width, row, at);
        if (end == NULL) {
            outcome = MALFORMED;
        } else if (end == at) {
            outcome = digest_long(keyed, columns, width, row, digests + DIGEST_BYTES * row, &lengths[row]);
        } else {
            lengths[row] = end - at;
            end = sha256_pad(end, at, BLOCK_BYTES);
            messages[waiting++] = (message){at, (uint64_t)(end - at) / BLOCK_BYTES, digests + DIGEST_BYTES * row};
            at = end;
        }
        if (waiting == ROWS_AT_ONCE || at > written + WRITTEN) {
            sha256_many(level, keyed, messages, waiting);
            waiting = 0;
            at = written;
        }
    }
    if (outcome == DONE) {
        sha256_many(level, keyed, messages, waiting);
    }
    free(written);
    return outcome;
}
