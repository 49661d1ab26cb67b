/* PostgreSQL's COPY BINARY, cut into rows and fields (PostgreSQL, COPY, "Binary Format"; protocol message CopyData). */
#include "kernel.h"

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
