/* A column's values in memory, and what must hold before they are read. */
#ifndef CENOTAPH_COLUMNS_H
#define CENOTAPH_COLUMNS_H

#include "kernel.h"

/* What lies in a buffer: bytes, and how many may be read from there on. */
typedef struct {
    const uint8_t *raw;
    uint64_t raw_bytes;
    uint64_t readable;
} rest;

static inline int is_valid(const column *c, uint64_t at) {
    return c->valid == NULL || (c->valid[at >> 3] >> (at & 7) & 1);
}

static inline uint64_t unsigned_at(const column *c, const uint8_t *from, uint64_t at) {
    switch (c->width) {
    case 1:
        return from[at];
    case 2:
        return load16(from + 2 * at);
    case 4:
        return load32(from + 4 * at);
    default:
        return load64(from + 8 * at);
    }
}

static inline uint64_t signed_at(const column *c, uint64_t at) {
    switch (c->width) {
    case 1:
        return (uint64_t)(int64_t)(int8_t)c->data[at];
    case 2:
        return (uint64_t)(int64_t)(int16_t)load16(c->data + 2 * at);
    case 4:
        return (uint64_t)(int64_t)(int32_t)load32(c->data + 4 * at);
    default:
        return load64(c->data + 8 * at);
    }
}

static inline int span(const uint8_t *data, uint64_t data_bytes, int64_t start, int64_t end, rest *r) {
    if (start < 0 || end < start || (uint64_t)end > data_bytes) {
        return 0;
    }
    r->raw = data + start;
    r->raw_bytes = (uint64_t)(end - start);
    r->readable = data_bytes - (uint64_t)start;
    return 1;
}

static inline int holds(uint64_t bytes, uint64_t values, uint64_t width) {
    return width == 0 || values <= bytes / width;
}

/* Whether the buffers have a place for every row. Values of no fixed width are looked at one by one. */
static inline int is_sound(const column *c, int64_t rows) {
    if (c->how < 0 || c->how >= HOWS || c->first < 0 || c->first > INT64_MAX / 2 - rows || c->width < 0
        || c->head_bytes > MOST_HEAD) {
        return 0;
    }
    uint64_t values = (uint64_t)c->first + (uint64_t)rows, width = (uint64_t)c->width;
    int integer = width == 1 || width == 2 || width == 4 || width == 8;
    if (c->valid != NULL && (values + 7) / 8 > c->valid_bytes) {
        return 0;
    }
    switch (c->how) {
    case NOTHING:
        return 1;
    case BITS:
        return c->head_bytes == 1 && (values + 7) / 8 <= c->data_bytes;
    case SIGNED:
    case UNSIGNED:
        return c->head_bytes == 1 && integer && holds(c->data_bytes, values, width);
    case NUMBERS:
        return width >= 1 && width <= 8 && holds(c->data_bytes, values, width);
    case FIXED:
        return c->head_bytes >= 1 && holds(c->data_bytes, values, width);
    case OFFSETS32:
        return c->head_bytes >= 1 && holds(c->places_bytes, values + 1, 4);
    case OFFSETS64:
        return c->head_bytes >= 1 && holds(c->places_bytes, values + 1, 8);
    case CELLS:
        return holds(c->places_bytes, values + 1, 8);
    default:
        return integer && holds(c->places_bytes, values, width);
    }
}

#endif
