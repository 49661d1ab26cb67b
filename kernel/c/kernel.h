/* What Python calls, and what the files share. Bytes on the wire are big-endian; the machine is little-endian. */
#ifndef CENOTAPH_KERNEL_H
#define CENOTAPH_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernel reads Arrow's buffers as a little-endian machine does"
#endif

enum { DIGEST_BYTES = 32, BLOCK_BYTES = 64, CHUNK_RECORDS = 4096 };

/* Instruction sets. The numbers are what Python passes; a machine has a subset of them. */
enum { SCALAR = 0, BASELINE = 1, AVX2 = 2, AVX512 = 3, LEVELS = 4 };

/* What a call comes to. */
enum { DONE = 0, MALFORMED = 1, TOO_LONG = 2, NO_MEMORY = 3 };

/* How a column's values lie in memory. The numbers are what Python passes. */
enum {
    NOTHING = 0,   /* nulls without a buffer */
    BITS = 1,      /* a bit a value, lowest first */
    SIGNED = 2,    /* integers of `width` bytes */
    UNSIGNED = 3,
    NUMBERS = 4,   /* `width` bytes a value that are written in reverse, behind `head` */
    OFFSETS32 = 5, /* bytes from one offset to the next */
    OFFSETS64 = 6,
    FIXED = 7,     /* `width` bytes a value, as they are */
    CELLS = 8,     /* encoded already, by int64 offsets */
    INDEXES = 9,   /* integers of `width` bytes into encoded cells */
    HOWS = 10
};

typedef struct {
    int32_t how;
    int64_t width;
    int64_t first;          /* rows of the buffers that come before the batch's */
    const uint8_t *valid;   /* bits, or NULL where nothing is null */
    uint64_t valid_bytes;
    const uint8_t *places;  /* offsets or indexes, at any alignment */
    uint64_t places_bytes;
    const uint8_t *cells;   /* of INDEXES: where each cell begins, int64, and the last one's end */
    uint64_t cells_bytes;
    const uint8_t *data;
    uint64_t data_bytes;
    const uint8_t *head;    /* NUMBERS: what precedes a value. Else the first head, and of bytes what precedes them behind it */
    uint64_t head_bytes;    /* 1 to MOST_HEAD */
} column;

enum { MOST_HEAD = 264 };

/* An attribute of a table's rows, and where its values go: nowhere; or as they are to `values`, with `there` (0, or -1 for
 * null) where they are of a fixed length, else with their `offsets`; or by their places and lengths. */
typedef struct {
    int32_t length;   /* bytes, or -1: it varies */
    int32_t align;    /* 1, 2, 4 or 8 */
    uint8_t *values;
    uint64_t room;    /* bytes of `values` */
    int8_t *there;
    int32_t *offsets;
    uint8_t *valid;   /* a bit a row, all 0 before */
    int64_t *places;
    int64_t *lengths; /* -1 for null, PACKED, ELSEWHERE */
    int64_t nulls;    /* how many there were */
    int64_t odd;      /* how many are packed, or elsewhere: their `values` are empty */
    int32_t ascii;    /* whether all of `values` is, by `offsets` */
} attribute;

/* Lengths of values that are not in their row as they are. */
enum {
    PACKED = -2,    /* in it, compressed: its place is that of the size and the method, behind the header */
    ELSEWHERE = -3, /* in another table: its place is that of the 16 bytes that say where */
};

typedef struct {
    const uint8_t *at; /* whole blocks, padded as SHA-256 prescribes */
    uint64_t blocks;   /* one at least */
    uint8_t *digest;
} message;

/* sha256.c */
extern const uint32_t sha256_initial[8];
extern const uint32_t sha256_constants[64];
void sha256_compress(uint32_t state[8], const uint8_t *blocks, uint64_t count);
void sha256_digest(const uint32_t state[8], uint8_t digest[DIGEST_BYTES]);
uint8_t *sha256_pad(uint8_t *end, uint8_t *start, uint64_t before);
void sha256_many(int level, const uint32_t start[8], message *messages, size_t count);

int cenotaph_level(int level);

/* records.c */
int cenotaph_digest(int level, const uint8_t *key, const column *columns, size_t width, int64_t rows,
                    uint8_t *digests, int64_t *lengths);

/* chunks.c */
int cenotaph_chunks(int level, const uint8_t *digests, const uint32_t *records, const uint64_t *bytes,
                    size_t chunks, uint8_t *hashes);

/* pieces.c */
int cenotaph_pieces(int level, uint8_t *octets, uint64_t room, uint64_t stride, const uint64_t *sizes, size_t count,
                    uint8_t *digests);

/* copy.c */
size_t cenotaph_rows(const uint8_t *octets, uint64_t size, uint64_t first, int64_t *starts, size_t room, uint64_t *end);
int cenotaph_fields(const uint8_t *octets, uint64_t size, const int64_t *starts, const int64_t *ends, size_t rows,
                    size_t fields, int64_t *places, int64_t *lengths);
int cenotaph_field_numbers(const uint8_t *octets, uint64_t size, const int64_t *places, const int64_t *lengths,
                           size_t rows, size_t width, uint8_t *numbers);
int cenotaph_field_octets(const uint8_t *octets, uint64_t size, const int64_t *places, const int64_t *lengths,
                          size_t rows, int32_t *offsets, uint8_t *data, uint64_t room);
size_t cenotaph_receive(int from, uint8_t *into, size_t size, size_t room);

/* pages.c */
int cenotaph_page_rows(const uint8_t *octets, size_t count, size_t page, int64_t *starts, int64_t *ends, uint8_t *open,
                       size_t *rows);
int cenotaph_page_values(const uint8_t *octets, uint64_t size, const int64_t *starts, const int64_t *ends, size_t rows,
                         attribute *attributes, size_t width);
size_t cenotaph_page_sums(int level, const uint8_t *octets, size_t count, size_t page, uint32_t first);
int cenotaph_pglz(const uint8_t *packed, size_t size, uint8_t *into, size_t room);
int cenotaph_numerics(const uint8_t *octets, uint64_t size, int64_t *places, int64_t *lengths, size_t rows, uint8_t *into,
                      uint64_t room);

/* needles.c */
enum { MOST_FORMS = 8 };
int cenotaph_fingerprints(int level, const uint8_t *key, const uint8_t *person, int fold, const column *c,
                          int64_t rows, uint64_t *words, uint8_t *there);
int cenotaph_names(int level, const uint8_t *key, const uint8_t *person, const uint8_t *data, uint64_t size, const int64_t *starts,
                   const int64_t *lengths, size_t count, uint64_t *words);
int cenotaph_numbers(const column *c, int fold, int64_t rows, uint64_t *words, uint8_t *there);
int cenotaph_forms(int level, const uint8_t *key, const uint8_t *person, const uint64_t *secrets, int kind,
                   int from_start, int postgres, const column *c, int64_t rows, const column *national,
                   const int64_t *wanted, size_t count, const uint64_t *names, uint8_t *forms, size_t *made,
                   uint64_t *skipped, uint8_t *done);

/* numbers.c */
typedef struct {
    const uint64_t *filter; /* four bits a number, in the word that its hash begins with */
    const uint64_t *hashed; /* ascending */
    const uint32_t *begin;  /* of the hashes that begin alike */
    const uint8_t *tells;   /* by how many digits: 10,000 bits, of the four digits behind `group` */
    const uint8_t *near;   /* likewise, 10,048 bits: those, and their neighbours */
    const uint8_t *group;
    const uint8_t *lowest;  /* by the place of the highest byte that is not zero: what it is, in integers */
    const uint8_t *highest;
    const uint32_t *places; /* likewise: bit n where some of these have n digits */
    uint64_t count;
    uint64_t first, second; /* what numbers are hashed with */
    int32_t filter_shift, begin_shift;
    uint32_t plain, large_x, small_x, padded; /* bit n: some have n digits; end in X, in x; begin with 0 */
    int32_t postgres;
} numbers;

int cenotaph_find_numbers(int level, const numbers *sought, const uint8_t *data, int64_t size, int64_t lead, int64_t core,
                          int64_t *state, int64_t *starts, uint32_t *ordinals, uint8_t *lengths, uint8_t *encodings,
                          int64_t room, int64_t *found);
int cenotaph_look_up(const numbers *sought, const uint64_t *words, size_t count, int64_t *ordinals);

/* shapes.c */
int cenotaph_find_shapes(int level, const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *state,
                         int64_t *starts, uint64_t *words, uint8_t *lengths, uint8_t *encodings, int64_t room, int64_t *count);

/* hexadecimal.c */
size_t cenotaph_spelled(int level, const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *starts, int64_t *ends,
                        size_t room);

/* magics.c */
size_t cenotaph_magics(int level, const uint8_t *data, size_t size, size_t core, const uint8_t *magics, const uint8_t *lengths,
                       size_t count, int64_t *places, uint8_t *which, size_t room);
size_t cenotaph_words(int level, const uint8_t *data, size_t count, int width, uint64_t mask, uint64_t value, int64_t *places,
                      size_t room);
void cenotaph_full(const uint8_t *data, size_t tiles, size_t bytes, uint8_t *full);
/* distinct.c */
int cenotaph_distinct(const uint64_t *words, size_t count, uint64_t secret, uint64_t *slots, uint64_t room,
                      uint64_t *fresh, size_t *made);

/* familiar.c */
int cenotaph_strange(int level, const column *columns, size_t width, int64_t rows, const uint64_t *secrets, uint64_t *slots,
                     uint64_t lines, int64_t *strange, size_t *made, uint64_t *added);

/* parquet.c */
/* Where the values of a column's pages go, and its dictionary. */
typedef struct {
    int32_t optional;             /* whether a value may be null */
    int32_t width;                /* bytes of a number in the file, 4 or 8; 0 for bytes of any length */
    int32_t into;                 /* bytes of a number as it is wanted: the lowest of `width` */
    uint64_t row;                 /* how many rows are there already */
    uint8_t *data;
    uint64_t room;
    int32_t *offsets;             /* of bytes; has a place for each row, and one more */
    uint8_t *valid;               /* of what is optional: a bit a row, all 0 before */
    const uint8_t *entry_data;
    uint64_t entry_bytes;
    const int32_t *entry_offsets; /* of bytes: one more than there are entries */
    uint64_t entries;
} page_column;
int cenotaph_page(const uint8_t *page, uint64_t size, int indexed, uint64_t count, const page_column *c, uint64_t *nulls);

/* windows.c */
typedef struct {
    const uint64_t *tags;  /* ascending */
    const int64_t *begin;  /* of those of each tag, in the next two; and the end of the last */
    const int64_t *window; /* where in a form its window begins */
    const int64_t *length;
    const uint8_t *filter;
    int64_t count;
    int32_t shift, width, six;
} windows;

int64_t cenotaph_candidates(int level, const uint8_t *bits, const uint8_t *marks, int shift, const uint64_t *secrets,
                            const windows *classes, const uint8_t *data, int64_t size, int64_t lead, int64_t core, int64_t *places,
                            int64_t room);

static inline uint16_t load16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return v; }
static inline uint32_t load32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return v; }
static inline uint64_t load64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return v; }
static inline void store32(uint8_t *at, uint32_t v) { v = __builtin_bswap32(v); memcpy(at, &v, 4); }
static inline void store64(uint8_t *at, uint64_t v) { v = __builtin_bswap64(v); memcpy(at, &v, 8); }

#endif
