/* The last block of several BLAKE2b messages at once, one a lane of a vector (RFC 7693, section 3.2).
 *
 * Included once for each instruction set, with LANES, a power of two up to 8, NAME(x), and ROTATE where an
 * instruction does what several operators would. */

typedef uint64_t NAME(vector) __attribute__((vector_size(8 * LANES)));
#define V NAME(vector)

#ifndef ROTATE
#define ROTATE(x, n) ((x) >> (n) | (x) << (64 - (n)))
#endif

#define MIX(a, b, c, d, x, y)         \
    do {                              \
        a += b + (x);                 \
        d = ROTATE(d ^ a, 32);        \
        c += d;                       \
        b = ROTATE(b ^ c, 24);        \
        a += b + (y);                 \
        d = ROTATE(d ^ a, 16);        \
        c += d;                       \
        b = ROTATE(b ^ c, 63);        \
    } while (0)

/* The first word of each digest: `blocks` are padded with zeros, `bytes` what they hold, at most 128 each. */
static void NAME(last)(const uint64_t state[8], const uint8_t (*blocks)[BLAKE2B_BLOCK], const uint8_t *bytes,
                       uint64_t *words) {
    V m[16], v[16], total;
    for (int lane = 0; lane < LANES; lane++) {
        total[lane] = BLAKE2B_BLOCK + (uint64_t)bytes[lane];
        for (int i = 0; i < 16; i++) {
            m[i][lane] = load64(blocks[lane] + 8 * i);
        }
    }
    for (int i = 0; i < 8; i++) {
        v[i] = (V){0} + state[i];
        v[i + 8] = (V){0} + blake2b_initial[i];
    }
    v[12] ^= total;
    v[14] = ~v[14];
#pragma GCC unroll 12
    for (int round = 0; round < 12; round++) {
        const uint8_t *s = blake2b_order[round % 10];
        MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
        MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
        MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
        MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
        MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
        MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
        MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
        MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
    }
    V first = state[0] ^ v[0] ^ v[8];
    for (int lane = 0; lane < LANES; lane++) {
        words[lane] = first[lane];
    }
}

#undef V
#undef MIX
#undef ROTATE
#undef LANES
#undef NAME
