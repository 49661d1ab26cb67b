/* Chunks: sorted record digests under one hash (spec/record.md, "Chunk"). */
#include "kernel.h"

#include <stdlib.h>

enum { AT_ONCE = 16, PREFIX_BYTES = 30, BUCKET_BITS = 12, NUMBER_BITS = 12 };

/* A digest's first bits, which decide nearly always, and behind them its number in the chunk. */
typedef uint64_t item;

static inline int comes_before(const uint8_t *digests, item a, item b) {
    if (__builtin_expect((a ^ b) >> NUMBER_BITS != 0, 1)) {
        return a < b;
    }
    uint64_t first = a % CHUNK_RECORDS, second = b % CHUNK_RECORDS;
    return memcmp(digests + DIGEST_BYTES * first, digests + DIGEST_BYTES * second, DIGEST_BYTES) < 0;
}

/* By the first bits into buckets, and then by insertion. Digests are spread evenly, so nothing moves far;
 * where they are not, a chunk is short enough for it all the same. */
static void sort(const uint8_t *digests, uint32_t count, item *sorted) {
    item given[CHUNK_RECORDS];
    uint32_t places[(1 << BUCKET_BITS) + 1] = {0};
    for (uint32_t i = 0; i < count; i++) {
        given[i] = __builtin_bswap64(load64(digests + DIGEST_BYTES * i)) >> NUMBER_BITS << NUMBER_BITS | i;
        places[(given[i] >> (64 - BUCKET_BITS)) + 1]++;
    }
    for (uint32_t i = 1; i < 1 << BUCKET_BITS; i++) {
        places[i] += places[i - 1];
    }
    for (uint32_t i = 0; i < count; i++) {
        sorted[places[given[i] >> (64 - BUCKET_BITS)]++] = given[i];
    }
    for (uint32_t i = 1; i < count; i++) {
        item moved = sorted[i];
        uint32_t j = i;
        for (; j && comes_before(digests, moved, sorted[j - 1]); j--) {
            sorted[j] = sorted[j - 1];
        }
        sorted[j] = moved;
    }
}

/* Write what a chunk's hash is of; give its end. */
static uint8_t *write_chunk(const uint8_t *digests, uint32_t count, uint64_t bytes, item *sorted, uint8_t *out) {
    memcpy(out, "cenotaph/v1 chunk", 18); /* and its zero */
    store32(out + 18, count);
    store64(out + 22, bytes);
    out += PREFIX_BYTES;
    sort(digests, count, sorted);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(out, digests + DIGEST_BYTES * (sorted[i] % CHUNK_RECORDS), DIGEST_BYTES);
        out += DIGEST_BYTES;
    }
    return out;
}

/* The hash of each chunk: its `records` digests follow those of the chunk before it, and `bytes` is the length
 * of their encodings. */
int cenotaph_chunks(int level, const uint8_t *digests, const uint32_t *records, const uint64_t *bytes,
                    size_t chunks, uint8_t *hashes) {
    message messages[AT_ONCE];
    size_t room = (size_t)(PREFIX_BYTES + DIGEST_BYTES * CHUNK_RECORDS + 2 * BLOCK_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
    size_t lanes = chunks < AT_ONCE ? chunks : AT_ONCE;
    if (!cenotaph_level(level)) {
        return MALFORMED;
    }
    for (size_t i = 0; i < chunks; i++) {
        if (records[i] > CHUNK_RECORDS) {
            return MALFORMED;
        }
    }
    uint8_t *written = malloc(lanes * room + CHUNK_RECORDS * sizeof(item));
    if (written == NULL) {
        return NO_MEMORY;
    }
    item *sorted = (item *)(void *)(written + lanes * room);
    for (size_t done = 0; done < chunks; done += lanes) {
        size_t some = chunks - done < lanes ? chunks - done : lanes;
        for (size_t i = 0; i < some; i++) {
            uint8_t *at = written + i * room;
            uint8_t *end = write_chunk(digests, records[done + i], bytes[done + i], sorted, at);
            end = sha256_pad(end, at, 0);
            messages[i] = (message){at, (uint64_t)(end - at) / BLOCK_BYTES, hashes + DIGEST_BYTES * (done + i)};
            digests += (size_t)DIGEST_BYTES * records[done + i];
        }
        sha256_many(level, sha256_initial, messages, some);
    }
    free(written);
    return DONE;
}
