/* SHA-256 of several messages at once, one a lane of a vector (FIPS 180-4, section 6.2.2).
 *
 * Included once for each instruction set, with LANES a power of two up to 16, NAME(x), and, where an
 * instruction does what several operators would, ROTATE, CHOOSE, MAJORITY and XOR3. The rest is GCC's vector
 * extension, which the compiler lowers to what the target has. */

typedef uint32_t NAME(vector) __attribute__((vector_size(4 * LANES)));
#define V NAME(vector)

#ifndef ROTATE
#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define CHOOSE(e, f, g) ((g) ^ ((e) & ((f) ^ (g))))
#define MAJORITY(a, b, c) (((a) & (b)) | ((c) & ((a) | (b))))
#define XOR3(a, b, c) ((a) ^ (b) ^ (c))
#endif

#define ROUND(a, b, c, d, e, f, g, h, i)                                                             \
    do {                                                                                             \
        V sum = h + XOR3(ROTATE(e, 6), ROTATE(e, 11), ROTATE(e, 25)) + CHOOSE(e, f, g)               \
              + sha256_constants[from + (i)] + w[i];                                                 \
        d += sum;                                                                                    \
        h = sum + XOR3(ROTATE(a, 2), ROTATE(a, 13), ROTATE(a, 22)) + MAJORITY(a, b, c);              \
    } while (0)

#define EIGHT_ROUNDS(i)                                                                              \
    do {                                                                                             \
        ROUND(a, b, c, d, e, f, g, h, (i) + 0);                                                      \
        ROUND(h, a, b, c, d, e, f, g, (i) + 1);                                                      \
        ROUND(g, h, a, b, c, d, e, f, (i) + 2);                                                      \
        ROUND(f, g, h, a, b, c, d, e, (i) + 3);                                                      \
        ROUND(e, f, g, h, a, b, c, d, (i) + 4);                                                      \
        ROUND(d, e, f, g, h, a, b, c, (i) + 5);                                                      \
        ROUND(c, d, e, f, g, h, a, b, (i) + 6);                                                      \
        ROUND(b, c, d, e, f, g, h, a, (i) + 7);                                                      \
    } while (0)

/* Rows become columns: after it, rows[i][j] is what rows[j][i] was (Eklundh, "A fast computer method for
 * matrix transposing", 1972). */
static inline __attribute__((always_inline)) void NAME(transpose)(V rows[LANES]) {
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) {
        V low, high;
        for (int lane = 0; lane < LANES; lane++) {
            low[lane] = (uint32_t)(lane & step ? LANES + lane - step : lane);
            high[lane] = (uint32_t)(lane & step ? LANES + lane : lane + step);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (!(i & step)) {
                V first = rows[i], second = rows[i + step];
                rows[i] = __builtin_shuffle(first, second, low);
                rows[i + step] = __builtin_shuffle(first, second, high);
            }
        }
    }
}

/* The 16 words of one block of each message, a word a vector. */
static inline __attribute__((always_inline)) void NAME(words)(V w[16], const uint8_t *const at[LANES]) {
#pragma GCC unroll 4
    for (int group = 0; group < 16 / LANES; group++) {
        V rows[LANES];
#pragma GCC unroll 16
        for (int lane = 0; lane < LANES; lane++) {
            memcpy(&rows[lane], at[lane] + group * sizeof(V), sizeof(V));
        }
        NAME(transpose)(rows);
#pragma GCC unroll 16
        for (int lane = 0; lane < LANES; lane++) {
            V x = rows[lane];
            w[group * LANES + lane] = (ROTATE(x, 24) & 0x00ff00ffu) | (ROTATE(x, 8) & 0xff00ff00u);
        }
    }
}

/* The digests of LANES messages, the longest first: a lane whose message has ended keeps its state. */
static void NAME(group)(const uint32_t start[8], const message *const messages[LANES]) {
    V state[8], blocks;
    const uint8_t *at[LANES];
    for (int i = 0; i < 8; i++) {
        state[i] = (V){0} + start[i];
    }
    for (int lane = 0; lane < LANES; lane++) {
        at[lane] = messages[lane]->at;
        blocks[lane] = (uint32_t)messages[lane]->blocks;
    }
    const uint32_t most = (uint32_t)messages[0]->blocks, least = (uint32_t)messages[LANES - 1]->blocks;
    for (uint32_t done = 0; done < most; done++) {
        V w[16];
        NAME(words)(w, at);
        V a = state[0], b = state[1], c = state[2], d = state[3];
        V e = state[4], f = state[5], g = state[6], h = state[7];
        int from = 0;
        EIGHT_ROUNDS(0);
        EIGHT_ROUNDS(8);
        for (from = 16; from < 64; from += 16) {
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) {
                V early = w[(i + 1) & 15], late = w[(i + 14) & 15];
                w[i] += w[(i + 9) & 15] + XOR3(ROTATE(early, 7), ROTATE(early, 18), early >> 3)
                      + XOR3(ROTATE(late, 17), ROTATE(late, 19), late >> 10);
            }
            EIGHT_ROUNDS(0);
            EIGHT_ROUNDS(8);
        }
        V all[8] = {a, b, c, d, e, f, g, h};
        if (done < least) {
            for (int i = 0; i < 8; i++) {
                state[i] += all[i];
            }
        } else {
            V live = (V)(blocks > done);
            for (int i = 0; i < 8; i++) {
                state[i] += all[i] & live;
            }
        }
        for (int lane = 0; lane < LANES; lane++) {
            at[lane] += done + 1 < messages[lane]->blocks ? BLOCK_BYTES : 0;
        }
    }
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < 8; i++) {
            store32(messages[lane]->digest + 4 * i, state[i][lane]);
        }
    }
}

/* Any number of messages, the longest first. */
static void NAME(all)(const uint32_t start[8], const message *const *messages, size_t count) {
    size_t done = 0;
    for (; done + LANES <= count; done += LANES) {
        NAME(group)(start, messages + done);
    }
    if (done < count) {
        const message *last[LANES];
        uint8_t unused[DIGEST_BYTES];
        message idle = *messages[count - 1];
        idle.digest = unused;
        for (size_t lane = 0; lane < LANES; lane++) {
            last[lane] = done + lane < count ? messages[done + lane] : &idle;
        }
        NAME(group)(start, last);
    }
}

#undef V
#undef ROUND
#undef EIGHT_ROUNDS
#undef ROTATE
#undef CHOOSE
#undef MAJORITY
#undef XOR3
#undef LANES
#undef NAME
