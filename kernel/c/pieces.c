/* The SHA-256 of pieces of a file, side by side (FIPS 180-4). */
#include "kernel.h"

enum { AT_ONCE = 64, MOST_PADDING = 2 * BLOCK_BYTES };

/* The digest of each piece: piece i is the first `sizes[i]` bytes at `stride` · i. The padding is written behind
 * each, where there must be room for 128 bytes. */
int cenotaph_pieces(int level, uint8_t *octets, uint64_t room, uint64_t stride, const uint64_t *sizes, size_t count,
                    uint8_t *digests) {
    if (!cenotaph_level(level) || (count && (stride < MOST_PADDING || count > room / stride))) {
        return MALFORMED;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > stride - MOST_PADDING) {
            return MALFORMED;
        }
    }
    for (size_t done = 0; done < count; done += AT_ONCE) {
        message messages[AT_ONCE];
        size_t some = count - done < AT_ONCE ? count - done : AT_ONCE;
        for (size_t i = 0; i < some; i++) {
            uint8_t *at = octets + stride * (done + i), *end = sha256_pad(at + sizes[done + i], at, 0);
            messages[i] = (message){at, (uint64_t)(end - at) / BLOCK_BYTES, digests + DIGEST_BYTES * (done + i)};
        }
        sha256_many(level, sha256_initial, messages, some);
    }
    return DONE;
}
