/* The search for windows of forms (cenotaph.residue.needles, whose filter this walks; the walk in numpy is the
 * reference): every place by one multiplication and one bit, the few that pass by class. */
#include "masks.h"

enum { CLASSES = 4, SLOT_BITS = 26, MANY = 2 }; /* MANY: in a filter, several windows; else an odd tag */
enum { FIRST, SECOND, MIXER, NARROW, SHORT, SLOTS };
enum { SIXTEEN = 16, EIGHT = 8, SIX = 6 };

typedef struct {
    const uint8_t *data;
    int64_t size, lead, core, found, room;
    int64_t *places;
} finder;

static uint64_t tag_of(const uint64_t *secrets, const uint8_t *window, int width) {
    uint64_t words[2] = {0, 0}, spread;
    memcpy(words, window, (size_t)width);
    if (width == SIXTEEN) {
        spread = words[0] * secrets[FIRST] + words[1] * secrets[SECOND];
    } else {
        spread = words[0] * secrets[width == EIGHT ? NARROW : SHORT];
    }
    uint64_t mixed = (spread ^ spread >> 29) * secrets[MIXER];
    return (spread >> (64 - SLOT_BITS) << (64 - SLOT_BITS)) | mixed >> SLOT_BITS;
}

/* The forms that may lie around a window of this class that begins at `at`. */
static void around(finder *f, const windows *w, const uint64_t *secrets, int64_t at) {
    if (!w->count || at < 0 || at + w->width > f->size) {
        return;
    }
    uint64_t tag = tag_of(secrets, f->data + at, w->width);
    uint8_t mark = w->filter[tag >> w->shift];
    if (mark != (uint8_t)(tag | 1) && mark != MANY) {
        return;
    }
    int64_t low = 0, high = w->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (w->tags[middle] < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == w->count || w->tags[low] != tag) {
        return;
    }
    for (int64_t i = w->begin[low]; i < w->begin[low + 1]; i++) {
        int64_t start = at - w->window[i];
        if (start >= f->lead && start < f->core && start + w->length[i] <= f->size) {
            if (f->found < f->room) {
                f->places[f->found] = start << 16 | w->length[i];
            }
            f->found++;
        }
    }
}

/* Forms that may begin at `lead` or later, before `core`, and lie wholly in the data: where, shifted by 16 bits, and how
 * long, in no order and some several times. Returns how many there are; those beyond `room` are only counted. */
int64_t cenotaph_candidates(const uint8_t *bits, const uint8_t *marks, int shift, const uint64_t *secrets, const windows *classes,
                            const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *places, int64_t room) {
    finder f = {data, size, lead, core, 0, room, places};
    int zeros_pass = bits[0] & 1;
    for (int64_t at = 0; at + SIX <= size;) {
        int64_t end = at + WORD_BYTES;
        if (!zeros_pass && end + 8 <= size) {
            uint64_t some = load64(data + end);
            for (int i = 0; i < 8; i++) {
                some |= load64(data + at + 8 * i);
            }
            if (!some) {
                at = end;
                continue;
            }
        }
        end = end + SIX <= size ? end : size - SIX + 1;
        for (; at < end; at++) {
            uint64_t word;
            if (at + 8 <= size) {
                word = load64(data + at) << 16 >> 16;
            } else {
                word = load32(data + at) | (uint64_t)load16(data + at + 4) << 32;
            }
            uint64_t slot = word * secrets[SLOTS] >> shift;
            if (bits[slot >> 3] >> (slot & 7) & 1) {
                for (int nth = 0; nth < CLASSES; nth++) {
                    if (marks[slot] >> nth & 1) {
                        around(&f, classes + nth, secrets, at - classes[nth].six);
                    }
                }
            }
        }
    }
    return f.found;
}
