/*
 * hash.c
 *	  A fast 64-bit hash of bytes, for fingerprints and checksums.
 *
 * Two lanes of 64 bits each take 16 bytes a round: the two words are blinded,
 * one by the lane and one by a constant, multiplied to 128 bits, and the
 * product's halves are folded together (the idea of wyhash).  Folding alone
 * forgets the lane when a blinded word happens to be 0, so the rotated lane is
 * added to every product.  The tail is padded with zeros; the size goes into
 * the last mix, so a padded tail differs from real zeros.
 *
 * Words are read as they lie in memory: all little-endian machines agree.
 * Not for adversaries: whoever knows the constants can construct collisions.
 */
#include "nn/base/base.h"

#include <string.h>

#define ROUND_BYTES 32

/* odd, random digits (fractions of square roots of primes) */
#define KEY0 UINT64_C(0x6a09e667f3bcc909)
#define KEY1 UINT64_C(0xbb67ae8584caa73b)
#define KEY2 UINT64_C(0x3c6ef372fe94f82b)
#define KEY3 UINT64_C(0xa54ff53a5f1d36f1)

/* The 128-bit product's halves, folded. */
static inline uint64_t
fold(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
	unsigned __int128 product = (unsigned __int128) a * b;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
#else
	uint64_t	low = (a & 0xffffffff) * (b & 0xffffffff);
	uint64_t	middle1 = (a >> 32) * (b & 0xffffffff);
	uint64_t	middle2 = (a & 0xffffffff) * (b >> 32);
	uint64_t	high = (a >> 32) * (b >> 32);
	uint64_t	carry = (low >> 32) + (middle1 & 0xffffffff) + (middle2 & 0xffffffff);

	high += (middle1 >> 32) + (middle2 >> 32) + (carry >> 32);
	low = (low & 0xffffffff) | (carry << 32);
	return low ^ high;
#endif
}

static inline uint64_t
rotate(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

/* One round: 32 bytes into both lanes. */
static inline void
mix(uint64_t lane[2], const unsigned char *bytes)
{
	uint64_t	word[4];

	memcpy(word, bytes, sizeof(word));
	lane[0] = fold(word[0] ^ lane[0], word[1] ^ KEY0) + rotate(lane[0], 23);
	lane[1] = fold(word[2] ^ lane[1], word[3] ^ KEY1) + rotate(lane[1], 29);
}

uint64_t
fnn_hash(uint64_t seed, const void *bytes, size_t size)
{
	const unsigned char *at = bytes;
	unsigned char tail[ROUND_BYTES] = {0};
	uint64_t	lane[2];
	size_t		left = size;

	lane[0] = fold(seed ^ KEY2, KEY0);
	lane[1] = lane[0] ^ KEY3;
	for (; left >= ROUND_BYTES; left -= ROUND_BYTES, at += ROUND_BYTES)
		mix(lane, at);
	if (left > 0)
	{
		memcpy(tail, at, left);
		mix(lane, tail);
	}
	lane[0] = fold(lane[0] ^ (uint64_t) size, KEY2) ^ rotate(lane[0], 31);
	return fold(lane[0] ^ KEY1, lane[1] ^ KEY3) ^ fold(lane[1] ^ KEY0, KEY2);
}
