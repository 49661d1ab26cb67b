/* The search for bytes that a script spells in hexadecimal digits (cenotaph.residue.hexadecimal). */
#include "masks.h"

enum { LEAST = 16 }; /* digits */

static inline int is_digit(uint8_t letter) {
    return (uint8_t)(letter - '0') <= 9 || (uint8_t)((letter | 0x20) - 'a') <= 5;
}

static inline int begins(const uint8_t *at) {
    return (at[1] == 'x' && (at[0] == '\\' || at[0] == '0')) || (at[1] == '\'' && (at[0] | 0x20) == 'x');
}

static inline uint64_t in_a_row(const uint64_t *masks) { /* LEAST of them */
    unsigned __int128 bits = (unsigned __int128)masks[1] << 64 | masks[0];
    bits &= bits >> 1;
    bits &= bits >> 2;
    bits &= bits >> 4;
    bits &= bits >> 8;
    return (uint64_t)bits;
}

/* Values that begin at `lead` or later, before `core`: where, and behind the last pair of their digits. Returns how many
 * there are; those beyond `room` are only counted. */
size_t cenotaph_spelled(int level, const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *starts, int64_t *ends,
                        size_t room) {
    static const byte_range ranges[3] = {{'0', 9}, {'A', 5}, {'a', 5}};
    masks_of *masks_in = masks_at(level);
    uint64_t masks[3][STRIP_WORDS];
    uint8_t padded[STRIP_WORDS * WORD_BYTES];
    size_t found = 0;
    int64_t behind = lead + 2; /* what begins a value lies before its digits */
    for (int64_t at = 0; at < core + 2 && at < size; at += STRIP * WORD_BYTES) {
        const uint8_t *strip;
        if (!strip_at(data, size, at, padded, &strip)) {
            continue;
        }
        masks_in(strip, ranges, 3, masks);
        for (int word = 0; word < STRIP_WORDS; word++) {
            masks[0][word] |= masks[1][word] | masks[2][word];
        }
        for (int word = 0; word < STRIP; word++) {
            uint64_t rows = masks[0][word] ? in_a_row(masks[0] + word) : 0;
            rows &= ~(rows << 1);
            while (rows) {
                int64_t start = at + word * WORD_BYTES + next_bit(&rows), end = start + LEAST;
                if (start < behind || start - 2 >= core) {
                    continue;
                }
                while (end < size && is_digit(data[end])) {
                    end++;
                }
                behind = end;
                if (!begins(data + start - 2)) {
                    continue;
                }
                if (found < room) {
                    starts[found] = start - 2;
                    ends[found] = end - (end - start) % 2;
                }
                found++;
            }
        }
    }
    return found;
}
