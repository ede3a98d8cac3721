/* The portable streams of noise.py: NumPy's Philox4x64-10 (Salmon et al. 2011), and the look-up of normal quantiles.
   Built where there is a compiler; noise.py draws the same bits through NumPy where there is none. A draw may begin at
   any word `first` that is a multiple of 16, so that several threads can share a stream out. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "16-bit words are read out of 64-bit ones in place, the lowest first"
#endif

enum { BLOCKS = 64, WORDS = 16 * BLOCKS }; /* a pass stays in the first-level cache */

typedef unsigned __int128 Wide;
typedef union {
    uint64_t outputs[4 * BLOCKS];
    uint16_t words[WORDS];
} Pass;

/* The blocks that hold the stream's words from `start` on, a multiple of 16; NumPy's first block has counter 1. */
static void philox(uint64_t seed, uint64_t name, size_t start, Pass *pass)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        uint64_t a = start / 16 + i + 1, b = 0, c = 0, d = 0, k = seed, l = name;
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            Wide p = (Wide)a * 0xD2E7470EE14C6C93u, q = (Wide)c * 0xCA5A826395121157u;
            a = (uint64_t)(q >> 64) ^ b ^ k, b = (uint64_t)q;
            c = (uint64_t)(p >> 64) ^ d ^ l, d = (uint64_t)p;
            k += 0x9E3779B97F4A7C15u, l += 0xBB67AE8584CAA73Bu;
        }
        uint64_t *out = pass->outputs + 4 * i;
        out[0] = a, out[1] = b, out[2] = c, out[3] = d;
    }
}

void evoens_draw_words(uint64_t seed, uint64_t name, size_t first, uint16_t *out, size_t n)
{
    Pass pass;
    for (size_t start = 0; start < n; start += WORDS) {
        philox(seed, name, first + start, &pass);
        memcpy(out + start, pass.words, sizeof *out * (n - start < WORDS ? n - start : WORDS));
    }
}

void evoens_draw_normals(uint64_t seed, uint64_t name, size_t first, const float *table, float *out, size_t n)
{
    Pass pass;
    for (size_t start = 0; start < n; start += WORDS) {
        size_t size = n - start < WORDS ? n - start : WORDS;
        philox(seed, name, first + start, &pass);
        for (size_t i = 0; i < size; i++)
            out[start + i] = table[pass.words[i]];
    }
}

/* A mask near `target`: an entry is turned over where the word is below chance · heat / 65536. */
#if defined(__x86_64__) && defined(__gnu_linux__)
__attribute__((target_clones("avx2", "default"))) /* chosen when the library is loaded */
#endif
void evoens_draw_turned(uint64_t seed, uint64_t name, size_t first, const uint8_t *target, const uint16_t *chance,
                        uint32_t heat, uint8_t *out, size_t n)
{
    Pass pass;
    for (size_t start = 0; start < n; start += WORDS) {
        size_t size = n - start < WORDS ? n - start : WORDS;
        philox(seed, name, first + start, &pass);
        for (size_t i = 0; i < size; i++)
            out[start + i] = target[start + i] ^ (pass.words[i] < (chance[start + i] * heat) >> 16);
    }
}
