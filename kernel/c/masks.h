/* Which bytes of a strip lie in a range, a bit a byte: what every search of raw bytes begins with. */
#ifndef CENOTAPH_MASKS_H
#define CENOTAPH_MASKS_H

#include "kernel.h"

enum { WORD_BYTES = 64, STRIP = 16, STRIP_WORDS = STRIP + 1 }; /* words of a strip, and one to look ahead */

typedef struct {
    uint8_t low;
    uint8_t span; /* the highest, less the lowest */
} byte_range;

typedef void masks_of(const uint8_t *data, const byte_range *ranges, size_t count, uint64_t (*masks)[STRIP_WORDS]);

masks_of *masks_at(int level);
int strip_at(const uint8_t *data, int64_t size, int64_t at, uint8_t room[STRIP_WORDS * WORD_BYTES], const uint8_t **strip);

/* The bits from `shift` on, of two words that follow each other. */
static inline uint64_t ahead(const uint64_t *masks, int shift) {
    return shift ? masks[0] >> shift | masks[1] << (64 - shift) : masks[0];
}

static inline int next_bit(uint64_t *mask) {
    int bit = __builtin_ctzll(*mask);
    *mask &= *mask - 1;
    return bit;
}

#endif
