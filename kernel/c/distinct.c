/* Words, each once: which of some words did not come before (open addressing with linear probing; Knuth, "The Art of
 * Computer Programming", volume 3, section 6.4, algorithm L). A slot that is 0 is empty, so 0 is no word and is passed
 * over. Where a word lies depends on a secret, so that nobody can choose words that all meet. */
#include "kernel.h"

enum { AHEAD = 32 }; /* words whose slots are on their way while the ones before them are looked up */

static inline uint64_t slot_of(uint64_t word, uint64_t secret, uint64_t room) {
    uint64_t mixed = word * (secret | 1);
    mixed = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15;
    return (uint64_t)((unsigned __int128)mixed * room >> 64);
}

/* Put words into the slots that are not there yet, and write those to `fresh`, which has room for all of them (NULL where
 * nobody asks), in order. MALFORMED where no slot is left. */
int cenotaph_distinct(const uint64_t *words, size_t count, uint64_t secret, uint64_t *slots, uint64_t room,
                      uint64_t *fresh, size_t *made) {
    uint64_t at[AHEAD];
    *made = 0;
    for (size_t done = 0; done < count; done += AHEAD) {
        size_t some = count - done < AHEAD ? count - done : AHEAD;
        for (size_t i = 0; i < some && room; i++) {
            at[i] = slot_of(words[done + i], secret, room);
            __builtin_prefetch(&slots[at[i]], 1);
        }
        for (size_t i = 0; i < some; i++) {
            uint64_t word = words[done + i], left = room;
            if (!word) {
                continue;
            }
            for (; left && slots[at[i]] && slots[at[i]] != word; left--) {
                at[i] = at[i] + 1 < room ? at[i] + 1 : 0;
            }
            if (!left) {
                return MALFORMED;
            }
            if (!slots[at[i]]) {
                slots[at[i]] = word;
                if (fresh != NULL) {
                    fresh[*made] = word;
                }
                ++*made;
            }
        }
    }
    return DONE;
}
