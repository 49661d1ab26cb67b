/* What all words of a strip have in common, several at once (cenotaph.residue.numbers).
 *
 * Included once for each instruction set, with NAME(x) and TARGET; the loops are such that the compiler makes vectors of
 * them. */

/* The number that four digits make, by the place of the first; three bytes more are read. */
TARGET static void NAME(groups)(const uint8_t *text, uint16_t groups[FEW]) {
    for (int i = 0; i < FEW; i++) {
        groups[i] = (uint16_t)(1000 * text[i] + 100 * text[i + 1] + 10 * text[i + 2] + text[i + 3] - 1111 * '0');
    }
}

#ifndef HAS_BETWEEN
/* A bit for each of these numbers that is not below `low` and at most `span` above it. */
TARGET static uint32_t NAME(between)(const uint16_t groups[FEW], uint16_t low, uint16_t span) {
    uint32_t mask = 0;
    for (int i = 0; i < FEW; i++) {
        mask |= (uint32_t)((uint16_t)(groups[i] - low) <= span) << i;
    }
    return mask;
}
#endif

/* Where so many bits follow each other, `step` apart. Of the last word, which has none behind it, the first bits count.
 * 0 where there are no such rows. */
TARGET static uint64_t NAME(rows)(const uint64_t bits[STRIP_WORDS], int count, int step, uint64_t rows[STRIP_WORDS]) {
    uint64_t before[STRIP_WORDS], any = 1;
    memcpy(rows, bits, STRIP_WORDS * sizeof *rows);
    for (int have = 1; have < count && any;) {
        int more = have < count - have ? have : count - have, shift = more * step;
        memcpy(before, rows, sizeof before);
        any = 0;
        for (int i = 0; i < STRIP; i++) {
            rows[i] = before[i] & (before[i] >> shift | before[i + 1] << (64 - shift));
            any |= rows[i];
        }
        rows[STRIP] = before[STRIP] & before[STRIP] >> shift;
        have += more;
    }
    return any;
}

/* Digits with a zero behind each; 0 where there are none. */
TARGET static uint64_t NAME(pairs)(const uint64_t *digit, const uint64_t *zero, uint64_t pairs[STRIP_WORDS]) {
    uint64_t any = 0;
    for (int i = 0; i < STRIP; i++) {
        pairs[i] = digit[i] & (zero[i] >> 1 | zero[i + 1] << 63);
        any |= pairs[i];
    }
    pairs[STRIP] = digit[STRIP] & zero[STRIP] >> 1;
    return any;
}

/* Where integers begin of which `first` has the highest byte that is not zero: of eight bytes, the lowest first, the
 * highest first, and of six, which only the lower of these have. 0 where there are none. */
TARGET static uint64_t NAME(tops)(const uint64_t *first, const uint64_t *zero, int top, uint64_t forms[3][STRIP]) {
    if (top != 5) { /* of which six bytes have no zero beside the highest */
        uint64_t beside = (first[STRIP] & zero[STRIP] >> 1) | (zero[STRIP] & first[STRIP] >> 1);
        for (int i = 0; i < STRIP; i++) {
            beside |= first[i] & (zero[i] >> 1 | zero[i + 1] << 63);
            beside |= zero[i] & (first[i] >> 1 | first[i + 1] << 63);
        }
        if (!beside) {
            return 0;
        }
    }
    for (int i = 0; i < STRIP; i++) {
        forms[0][i] = first[i] >> top | first[i + 1] << (64 - top);
        forms[1][i] = top == 7 ? first[i] : first[i] >> (7 - top) | first[i + 1] << (57 + top);
        forms[2][i] = top > 5 ? 0 : top == 5 ? first[i] : first[i] >> 1 | first[i + 1] << 63;
    }
    for (int shift = top + 1; shift < 8; shift++) {
        for (int i = 0; i < STRIP; i++) {
            forms[0][i] &= zero[i] >> shift | zero[i + 1] << (64 - shift);
        }
    }
    for (int shift = 0; shift < 7 - top; shift++) {
        for (int i = 0; i < STRIP; i++) {
            uint64_t ahead = shift ? zero[i] >> shift | zero[i + 1] << (64 - shift) : zero[i];
            forms[1][i] &= ahead;
            forms[2][i] &= shift < 5 - top ? ahead : ~(uint64_t)0;
        }
    }
    uint64_t any = 0;
    for (int i = 0; i < STRIP; i++) {
        any |= forms[0][i] | forms[1][i] | forms[2][i];
    }
    return any;
}

/* The places of the bits, without a branch for each: four are always written. */
TARGET static size_t NAME(flattened)(const uint64_t words[STRIP], uint16_t places[STRIP * WORD_BYTES + 8]) {
    size_t count = 0;
    for (int i = 0; i < STRIP; i++) {
        uint64_t mask = words[i];
        size_t done = count;
        count += (size_t)__builtin_popcountll(mask);
        do {
            for (size_t nth = 0; nth < 4; nth++) {
                places[done + nth] = (uint16_t)(WORD_BYTES * i + lowest_bit(mask));
                mask &= mask - 1;
            }
            done += 4;
        } while (mask);
    }
    return count;
}

#undef NAME
#undef TARGET
#undef HAS_BETWEEN
