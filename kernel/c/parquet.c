/* The values of a page of a Parquet file, once it is decompressed, as Arrow has them (cenotaph.parquet_pages).
 *
 * Pages of version 1, of columns that neither repeat nor nest: https://parquet.apache.org/docs/file-format/data-pages/ and
 * .../encodings/, "Plain", "Dictionary encoding" and "Run length encoding / bit-packing hybrid". What is not as it should be
 * is said, and then read by who knows more of them. */
#include "kernel.h"

#include <stdlib.h>

enum { BLIND = 32, MOST_WIDTH = 32 }; /* bytes that are copied at once where so many may be; bits of an index */

static uint64_t load_within(const uint8_t *at, const uint8_t *end) {
    uint64_t word = 0;
    if (end - at >= 8) {
        return load64(at);
    }
    for (uint64_t i = 0; at + i < end; i++) {
        word |= (uint64_t)at[i] << 8 * i;
    }
    return word;
}

/* So many numbers of `width` bits, in runs and packed by turns. */
static int unpack(const uint8_t *at, const uint8_t *end, uint32_t width, uint32_t *numbers, uint64_t count) {
    uint64_t done = 0, mask = ((uint64_t)1 << width) - 1;
    while (done < count) {
        uint64_t head = 0, shift = 0;
        do {
            if (at == end || shift > 28) {
                return 0;
            }
            head |= (uint64_t)(*at & 127) << shift;
            shift += 7;
        } while (*at++ & 128);
        uint64_t many = head & 1 ? (head >> 1) * 8 : head >> 1, left = count - done;
        uint64_t bytes = head & 1 ? (head >> 1) * width : (width + 7) / 8;
        if (bytes > (uint64_t)(end - at)) {
            return 0;
        }
        many = many < left ? many : left;
        if (head & 1) {
            for (uint64_t i = 0, bit = 0; i < many; i++, bit += width) {
                numbers[done + i] = (uint32_t)(load_within(at + bit / 8, end) >> bit % 8 & mask);
            }
        } else {
            uint32_t same = (uint32_t)load_within(at, at + bytes);
            if (same > mask) {
                return 0;
            }
            for (uint64_t i = 0; i < many; i++) {
                numbers[done + i] = same;
            }
        }
        done += many;
        at += bytes;
    }
    return 1;
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t count) {
    uint64_t end = first + count;
    for (; first < end && first % 8; first++) {
        bits[first / 8] |= (uint8_t)(1 << first % 8);
    }
    for (; first + 8 <= end; first += 8) {
        bits[first / 8] = 255;
    }
    for (; first < end; first++) {
        bits[first / 8] |= (uint8_t)(1 << first % 8);
    }
}

/* One value behind the others; `readable` bytes follow where it begins. */
static inline int put(const page_column *c, const uint8_t *from, uint64_t bytes, uint64_t readable, uint64_t *used) {
    if (bytes > readable || bytes > c->room - *used) {
        return 0;
    }
    if (bytes <= BLIND && readable >= BLIND && c->room - *used >= BLIND) {
        memcpy(c->data + *used, from, BLIND);
    } else {
        memcpy(c->data + *used, from, bytes);
    }
    *used += bytes;
    return 1;
}

static inline int is_there(const page_column *c, const uint32_t *levels, uint64_t row) {
    if (levels != NULL && levels[row]) {
        c->valid[(c->row + row) / 8] |= (uint8_t)(1 << (c->row + row) % 8);
    }
    return levels == NULL || levels[row];
}

static int put_bytes(const page_column *c, const uint8_t *at, const uint8_t *end, const uint32_t *levels, const uint32_t *indices,
                     uint64_t count) {
    uint64_t used = (uint64_t)c->offsets[c->row];
    if (c->offsets[c->row] < 0 || used > c->room) {
        return 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (is_there(c, levels, i)) {
            if (indices != NULL) {
                uint32_t index = *indices++;
                if (index >= c->entries) {
                    return 0;
                }
                int64_t from = c->entry_offsets[index], to = c->entry_offsets[index + 1];
                if (from < 0 || to < from || (uint64_t)to > c->entry_bytes
                    || !put(c, c->entry_data + from, (uint64_t)(to - from), c->entry_bytes - (uint64_t)from, &used)) {
                    return 0;
                }
            } else {
                if (end - at < 4) {
                    return 0;
                }
                uint64_t bytes = load32(at);
                at += 4;
                if (!put(c, at, bytes, (uint64_t)(end - at), &used)) {
                    return 0;
                }
                at += bytes;
            }
        }
        c->offsets[c->row + i + 1] = (int32_t)used;
    }
    return 1;
}

static inline void copy_number(uint8_t *to, const uint8_t *from, uint64_t bytes) {
    switch (bytes) {
    case 1:
        *to = *from;
        return;
    case 2:
        memcpy(to, from, 2);
        return;
    case 4:
        memcpy(to, from, 4);
        return;
    default:
        memcpy(to, from, 8);
    }
}

static int put_numbers(const page_column *c, const uint8_t *at, const uint8_t *end, const uint32_t *levels, const uint32_t *indices,
                       uint64_t count, uint64_t present) {
    uint64_t width = (uint64_t)c->width, into = (uint64_t)c->into;
    if (c->room / into < c->row + count || (indices == NULL && (uint64_t)(end - at) / width < present)) {
        return 0;
    }
    uint8_t *to = c->data + c->row * into;
    if (indices == NULL && levels == NULL && into == width) {
        memcpy(to, at, count * width);
        return 1;
    }
    for (uint64_t i = 0; i < count; i++, to += into) {
        const uint8_t *from = at;
        if (!is_there(c, levels, i)) {
            memset(to, 0, into);
            continue;
        }
        if (indices != NULL) {
            uint32_t index = *indices++;
            if (index >= c->entries) {
                return 0;
            }
            from = c->entry_data + index * width;
        } else {
            at += width;
        }
        copy_number(to, from, into);
    }
    return 1;
}

static int is_known(const page_column *c) {
    int number = (c->width == 4 || c->width == 8) && (c->into == c->width || (c->width == 4 && (c->into == 1 || c->into == 2)));
    if (c->data == NULL || (c->optional && c->valid == NULL) || (c->width && !number) || (!c->width && c->offsets == NULL)) {
        return 0;
    }
    if (!c->entries) {
        return 1;
    }
    return c->width ? c->entry_bytes / (uint64_t)c->width >= c->entries : c->entry_offsets != NULL;
}

/* Put the values of a page behind those of the pages before it: `count` rows, of which the first is `c->row`. `nulls` says
 * how many of them are none. MALFORMED for whatever is not as it is here. */
int cenotaph_page(const uint8_t *page, uint64_t size, int indexed, uint64_t count, const page_column *c, uint64_t *nulls) {
    const uint8_t *at = page, *end = page + size;
    uint32_t *levels = NULL, *indices = NULL;
    uint64_t present = count;
    int good = 0;
    *nulls = 0;
    if (!is_known(c) || count > UINT32_MAX / 8 || c->room > INT32_MAX || c->row > INT32_MAX) {
        return MALFORMED;
    }
    uint32_t *room = malloc(2 * (count + 1) * sizeof *room);
    if (room == NULL) {
        return NO_MEMORY;
    }
    if (c->optional) {
        uint64_t bytes = size < 4 ? 0 : load32(at);
        if (size < 4 || bytes > size - 4 || !unpack(at + 4, at + 4 + bytes, 1, room, count)) {
            goto end;
        }
        at += 4 + bytes;
        present = 0;
        for (uint64_t i = 0; i < count; i++) {
            present += room[i];
        }
        *nulls = count - present;
        if (*nulls) {
            levels = room;
        } else {
            set_bits(c->valid, c->row, count);
        }
    }
    if (indexed) {
        indices = room + count;
        if (present && (at == end || *at > MOST_WIDTH || !unpack(at + 1, end, *at, indices, present))) {
            goto end;
        }
    }
    good = c->width ? put_numbers(c, at, end, levels, indices, count, present) : put_bytes(c, at, end, levels, indices, count);
end:
    free(room);
    return good ? DONE : MALFORMED;
}
