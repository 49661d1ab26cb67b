/* PostgreSQL's COPY BINARY, cut into rows and fields (PostgreSQL, COPY, "Binary Format"; protocol message CopyData). */
#include "kernel.h"

#include <errno.h>
#include <sys/socket.h>

static inline uint32_t big32(const uint8_t *at) { return __builtin_bswap32(load32(at)); }
static inline uint16_t big16(const uint8_t *at) { return __builtin_bswap16(load16(at)); }

enum { HEAD_BYTES = 7, DATA = 'd' }; /* 'd', u32 length without the 'd', i16 number of fields */

/* Where the messages begin that follow each other from `first` on, whole and with as many fields as the first, and
 * where the last of them ends. The first is known to be one. Returns how many; at most `room`. */
size_t cenotaph_rows(const uint8_t *octets, uint64_t size, uint64_t first, int64_t *starts, size_t room, uint64_t *end) {
    size_t count = 0;
    uint64_t at = first;
    uint16_t fields = 0;
    while (count < room && at <= size && size - at >= HEAD_BYTES) {
        uint64_t length = big32(octets + at + 1);
        if (octets[at] != DATA || length < HEAD_BYTES - 1 || length > size - at - 1
            || (count && big16(octets + at + 5) != fields)) {
            break;
        }
        fields = count ? fields : big16(octets + at + 5);
        starts[count++] = (int64_t)at;
        at += 1 + length;
    }
    *end = at;
    return count;
}

/* Where each field of each row begins, and its length, -1 for null; `fields` columns one after the other. */
int cenotaph_fields(const uint8_t *octets, uint64_t size, const int64_t *starts, const int64_t *ends, size_t rows,
                    size_t fields, int64_t *places, int64_t *lengths) {
    for (size_t row = 0; row < rows; row++) {
        if (starts[row] < 0 || ends[row] < starts[row] || (uint64_t)ends[row] > size) {
            return MALFORMED;
        }
        uint64_t at = (uint64_t)starts[row], end = (uint64_t)ends[row];
        if (end - at < 2 || big16(octets + at) != fields) {
            return MALFORMED;
        }
        at += 2;
        for (size_t field = 0; field < fields; field++) {
            if (end - at < 4) {
                return MALFORMED;
            }
            int32_t length = (int32_t)big32(octets + at);
            at += 4;
            if (length < -1 || (length > 0 && (uint64_t)length > end - at)) {
                return MALFORMED;
            }
            places[field * rows + row] = (int64_t)at;
            lengths[field * rows + row] = length;
            at += length > 0 ? (uint64_t)length : 0;
        }
        if (at != end) {
            return MALFORMED;
        }
    }
    return DONE;
}

/* What lies in a row's field: 0 null, 1 a value, -1 outside of the bytes. */
static inline int field_at(uint64_t size, int64_t place, int64_t length) {
    if (length < 0) {
        return length == -1 ? 0 : -1;
    }
    return place >= 0 && (uint64_t)place <= size && (uint64_t)length <= size - (uint64_t)place ? 1 : -1;
}

/* The numbers of a column, each `width` bytes and the highest first, as the machine has them; 0 for nulls. */
int cenotaph_field_numbers(const uint8_t *octets, uint64_t size, const int64_t *places, const int64_t *lengths,
                           size_t rows, size_t width, uint8_t *numbers) {
    for (size_t row = 0; row < rows; row++) {
        int there = field_at(size, places[row], lengths[row]);
        if (there < 0 || (there && (uint64_t)lengths[row] != width)) {
            return MALFORMED;
        }
        uint64_t number = 0;
        const uint8_t *at = octets + (there ? places[row] : 0);
        switch (width) {
        case 2:
            number = there ? big16(at) : 0;
            break;
        case 4:
            number = there ? big32(at) : 0;
            break;
        case 8:
            number = there ? (uint64_t)big32(at) << 32 | big32(at + 4) : 0;
            break;
        default:
            return MALFORMED;
        }
        memcpy(numbers + row * width, &number, width);
    }
    return DONE;
}

/* The bytes of a column's values one after the other, and where each begins, and the last one's end. There is room for
 * `room` bytes. */
int cenotaph_field_octets(const uint8_t *octets, uint64_t size, const int64_t *places, const int64_t *lengths,
                          size_t rows, int32_t *offsets, uint8_t *data, uint64_t room) {
    uint64_t end = 0;
    for (size_t row = 0; row < rows; row++) {
        int there = field_at(size, places[row], lengths[row]);
        uint64_t bytes = there ? (uint64_t)lengths[row] : 0;
        if (there < 0 || bytes > room - end || room > INT32_MAX) {
            return MALFORMED;
        }
        offsets[row] = (int32_t)end;
        memcpy(data + end, octets + (there ? places[row] : 0), bytes);
        end += bytes;
    }
    offsets[rows] = (int32_t)end;
    return DONE;
}

static const uint8_t ready[5] = {'Z', 0, 0, 0, 5}; /* "ready for query", but for its last byte */

/* Receive behind the `size` bytes that came before, until there is no more room, the other side has ended, or it may be
 * waiting: the last bytes look like "ready for query", which a value may, too. Returns where they end. */
size_t cenotaph_receive(int from, uint8_t *into, size_t size, size_t room) {
    while (size < room) {
        ssize_t more = recv(from, into + size, room - size, 0);
        if (more < 0 && errno == EINTR) {
            continue;
        }
        if (more <= 0) {
            break;
        }
        size += (size_t)more;
        if (size > sizeof ready && !memcmp(into + size - 1 - sizeof ready, ready, sizeof ready)) {
            break;
        }
    }
    return size;
}
