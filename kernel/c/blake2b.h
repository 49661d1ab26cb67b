/* Keyed BLAKE2b of 8 bytes (RFC 7693), of many short messages under one key. */
#ifndef CENOTAPH_BLAKE2B_H
#define CENOTAPH_BLAKE2B_H

#include "kernel.h"

enum { BLAKE2B_BLOCK = 128, BLAKE2B_AT_ONCE = 8 };

void blake2b_keyed(const uint8_t key[32], const uint8_t person[16], uint64_t start[8], uint64_t state[8]);
uint64_t blake2b_word(const uint64_t start[8], const uint64_t state[8], const uint8_t key[32], const uint8_t *data,
                      uint64_t bytes);
void blake2b_words(int level, const uint64_t state[8], const uint8_t (*blocks)[BLAKE2B_BLOCK], const uint8_t *bytes,
                   size_t count, uint64_t *words);

#endif
