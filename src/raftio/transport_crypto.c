/* See transport_crypto.h. */
#include "raftio/transport_crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

static EVP_MAC_CTX *hmac_new(const uint8_t *key, size_t len)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = hmac != NULL ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac); /* the context keeps its own reference */
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    if (ctx != NULL && EVP_MAC_init(ctx, key, len, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static bool hmac_update(EVP_MAC_CTX *ctx, struct span s)
{
    return s.len == 0 || EVP_MAC_update(ctx, (const unsigned char *)s.data, s.len) == 1;
}

static bool hmac_final(EVP_MAC_CTX *ctx, uint8_t out[32])
{
    size_t len = 0;
    return EVP_MAC_final(ctx, out, &len, 32) == 1 && len == 32;
}

bool crypto_derive(const uint8_t key[KEY_BYTES], const char *label, const struct span *parts,
                   size_t n, uint8_t out[KEY_BYTES])
{
    EVP_MAC_CTX *ctx = hmac_new(key, KEY_BYTES);
    /* The label's NUL ends it, so that no label is a prefix of another's input. */
    bool ok = ctx != NULL && hmac_update(ctx, span_make(label, strlen(label) + 1));
    for (size_t i = 0; ok && i < n; i++) {
        ok = hmac_update(ctx, parts[i]);
    }
    ok = ok && hmac_final(ctx, out);
    EVP_MAC_CTX_free(ctx);
    return ok;
}

bool crypto_base_key(struct span secret, uint8_t key[KEY_BYTES])
{
    /* A fixed key makes a PRF into an extractor (HKDF, RFC 5869 section 2.2) and lets an
     * empty secret take the same way. */
    static const uint8_t fixed[KEY_BYTES] = "usher transport 1";
    return crypto_derive(fixed, "cluster secret", &secret, 1, key);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_wipe(void *p, size_t len) { OPENSSL_cleanse(p, len); }

struct mac *mac_new(const uint8_t key[KEY_BYTES]) { return (struct mac *)hmac_new(key, KEY_BYTES); }

void mac_free(struct mac *m) { EVP_MAC_CTX_free((EVP_MAC_CTX *)m); }

bool mac_frame(struct mac *m, uint64_t counter, struct span head, struct span body,
               uint8_t out[MAC_BYTES])
{
    EVP_MAC_CTX *ctx = (EVP_MAC_CTX *)m;
    uint8_t full[32], count[8];
    for (unsigned i = 0; i < 8; i++) {
        count[i] = (uint8_t)(counter >> (8 * i));
    }
    bool ok = EVP_MAC_init(ctx, NULL, 0, NULL) == 1 &&
              hmac_update(ctx, span_make((const char *)count, sizeof count)) &&
              hmac_update(ctx, head) && hmac_update(ctx, body) && hmac_final(ctx, full);
    memcpy(out, full, ok ? MAC_BYTES : 0);
    return ok;
}
