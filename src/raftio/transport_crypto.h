/* The transport's cryptography: HMAC-SHA-256 for proofs and keys, GMAC (AES-256) for
 * frames, both from libcrypto, nothing of our own.
 *
 * From the cluster secret one base key is made; from it, for each connection, the two
 * proofs and one frame key per direction, each bound by a label to its purpose and by
 * the transcript (both greetings with their nonces, ids, addresses) to this connection. */
#ifndef USHER_RAFTIO_TRANSPORT_CRYPTO_H
#define USHER_RAFTIO_TRANSPORT_CRYPTO_H

#include <stdbool.h>

#include "base/buf.h"

#define KEY_BYTES   32
#define PROOF_BYTES 32
#define NONCE_BYTES 32
#define MAC_BYTES   16

/* A keyed MAC ready for many messages. */
struct mac;

/* False when libcrypto fails (out of memory): treat as ERR_INTERNAL. */
bool crypto_base_key(struct span secret, uint8_t key[KEY_BYTES]);
/* out = HMAC(key, label || parts...) */
bool crypto_derive(const uint8_t key[KEY_BYTES], const char *label, const struct span *parts,
                   size_t n, uint8_t out[KEY_BYTES]);
bool crypto_equal(const void *a, const void *b, size_t len); /* in constant time */
void crypto_wipe(void *p, size_t len);

struct mac *mac_new(const uint8_t key[KEY_BYTES]); /* NULL on failure */
void mac_free(struct mac *m);
/* GMAC over head and body (at most INT_MAX bytes each) with the counter as nonce: safe
 * because a key serves one direction of one connection and its counter never repeats. */
bool mac_frame(struct mac *m, uint64_t counter, struct span head, struct span body,
               uint8_t out[MAC_BYTES]);

#endif
