/* See access.h. Comparisons take the same time whatever differs, and an unknown user costs
 * what a wrong password costs. */
#include "net/access.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

#define DIGEST_BYTES   32
#define SALT_BYTES_MAX 64
#define ITERATIONS_MAX 10000000
#define PREFIX         "pbkdf2-sha256$"

struct account {
    struct account *next;
    char *name;
    char **roles;
    int level;
    bool quick; /* `digest` is the HMAC of the right password */
    bool hashed;
    unsigned iterations;
    size_t salt_len;
    unsigned char digest[DIGEST_BYTES], salt[SALT_BYTES_MAX], hash[DIGEST_BYTES];
};

struct access {
    struct account *accounts;
    size_t count;
    unsigned slowest; /* rounds of the slowest hash; 0: no password is hashed */
    unsigned char key[DIGEST_BYTES];
};

struct access *access_new(void)
{
    struct access *a = mem_zalloc(sizeof *a);
    if (a != NULL && RAND_bytes(a->key, sizeof a->key) != 1) {
        mem_free(a);
        return NULL;
    }
    return a;
}

static void account_free(struct account *u)
{
    for (size_t i = 0; u->roles != NULL && u->roles[i] != NULL; i++) {
        mem_free(u->roles[i]);
    }
    mem_free(u->roles);
    mem_free(u->name);
    OPENSSL_cleanse(u, sizeof *u);
    mem_free(u);
}

void access_free(struct access *a)
{
    while (a != NULL && a->accounts != NULL) {
        struct account *next = a->accounts->next;
        account_free(a->accounts);
        a->accounts = next;
    }
    mem_free(a);
}

static void digest_of(const struct access *a, struct span password, unsigned char out[DIGEST_BYTES])
{
    unsigned len = 0;
    const unsigned char *p = (const unsigned char *)(password.len > 0 ? password.data : "");
    unsigned char *ok = HMAC(EVP_sha256(), a->key, sizeof a->key, p, password.len, out, &len);
    ASSERT(ok != NULL && len == DIGEST_BYTES);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Bytes written, or 0 when malformed or too long. */
static size_t read_hex(const char *p, size_t len, unsigned char *out, size_t cap)
{
    if (len % 2 != 0 || len / 2 > cap) {
        return 0;
    }
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_value(p[i]), low = hex_value(p[i + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        out[i / 2] = (unsigned char)(high * 16 + low);
    }
    return len / 2;
}

static bool parse_hash(struct account *u, const char *text)
{
    const char *salt = strchr(text, '$');
    const char *hash = salt != NULL ? strchr(salt + 1, '$') : NULL;
    int64_t n;
    if (hash == NULL || !text_int64(span_make(text, (size_t)(salt - text)), &n) || n < 1 ||
        n > ITERATIONS_MAX) {
        return false;
    }
    u->iterations = (unsigned)n;
    u->salt_len = read_hex(salt + 1, (size_t)(hash - salt - 1), u->salt, sizeof u->salt);
    u->hashed = true;
    return u->salt_len > 0 &&
           read_hex(hash + 1, strlen(hash + 1), u->hash, DIGEST_BYTES) == DIGEST_BYTES;
}

static struct account *find(const struct access *a, struct span name)
{
    struct account *found = NULL;
    for (struct account *u = a->accounts; u != NULL; u = u->next) {
        if (span_is(name.len > 0 ? name : span_of("default"), u->name)) {
            found = u;
        }
    }
    return found;
}

static bool copy_roles(struct account *u, const char *const *roles)
{
    size_t n = 0;
    while (roles != NULL && roles[n] != NULL) {
        n++;
    }
    u->roles = mem_zalloc((n + 1) * sizeof *u->roles);
    for (size_t i = 0; u->roles != NULL && i < n; i++) {
        u->roles[i] = mem_strndup(roles[i], strlen(roles[i]));
        if (u->roles[i] == NULL) {
            return false;
        }
    }
    return u->roles != NULL;
}

int access_add(struct access *a, const char *name, const char *password, int level,
               const char *const *roles, struct error *e)
{
    if (!text_is_id(span_of(name)) || password == NULL || password[0] == 0) {
        return error_set(e, ERR_BADARG, "user %s: a name and a password are needed", name);
    }
    if (find(a, span_of(name)) != NULL) {
        return error_set(e, ERR_BADARG, "user %s is given twice", name);
    }
    struct account *u = mem_zalloc(sizeof *u);
    if (u == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    u->level = level;
    u->name = mem_strndup(name, strlen(name));
    if (u->name == NULL || !copy_roles(u, roles)) {
        account_free(u);
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    if (strncmp(password, PREFIX, strlen(PREFIX)) == 0) {
        if (!parse_hash(u, password + strlen(PREFIX))) {
            account_free(u);
            return error_set(
                e, ERR_BADARG,
                "user %s: the password hash is not " PREFIX "ITERATIONS$SALT_HEX$HASH_HEX", name);
        }
        a->slowest = u->iterations > a->slowest ? u->iterations : a->slowest;
    } else {
        digest_of(a, span_of(password), u->digest);
        u->quick = true;
    }
    u->next = a->accounts;
    a->accounts = u;
    a->count++;
    return 0;
}

size_t access_count(const struct access *a) { return a != NULL ? a->count : 0; }

struct policy_user access_anonymous(const struct access *a)
{
    return (struct policy_user){
        .name = { "", 0 },
        .access = access_count(a) > 0 ? ACCESS_PUBLIC : ACCESS_ADMIN,
    };
}

static struct policy_user user_of(const struct account *u)
{
    return (struct policy_user){
        .name = span_of(u->name),
        .access = u->level,
        .roles = (const char *const *)u->roles,
    };
}

enum access_verdict access_check(const struct access *a, struct span name, struct span password,
                                 struct policy_user *user)
{
    unsigned char digest[DIGEST_BYTES];
    static const unsigned char nobody[DIGEST_BYTES];
    const struct account *u = find(a, name);
    digest_of(a, password, digest);
    bool same = CRYPTO_memcmp(digest, u != NULL ? u->digest : nobody, DIGEST_BYTES) == 0;
    if (u != NULL && u->quick && same) {
        *user = user_of(u);
        return ACCESS_RIGHT;
    }
    /* An unknown name takes as long as a known one, or it would tell who has an account. */
    return (u != NULL ? u->hashed : a->slowest > 0) ? ACCESS_SLOW : ACCESS_WRONG;
}

static bool derive(struct span password, const unsigned char *salt, size_t salt_len,
                   unsigned iterations, unsigned char out[DIGEST_BYTES])
{
    return PKCS5_PBKDF2_HMAC(password.len > 0 ? password.data : "", (int)password.len, salt,
                             (int)salt_len, (int)iterations, EVP_sha256(), DIGEST_BYTES, out) == 1;
}

bool access_check_slow(const struct access *a, struct span name, struct span password)
{
    unsigned char out[DIGEST_BYTES];
    const struct account *u = find(a, name);
    if (password.len > PASSWORD_BYTES_MAX || (u != NULL && !u->hashed)) {
        return false;
    }
    if (u == NULL) {
        (void)derive(password, a->key, sizeof a->key, a->slowest, out);
        return false;
    }
    return derive(password, u->salt, u->salt_len, u->iterations, out) &&
           CRYPTO_memcmp(out, u->hash, DIGEST_BYTES) == 0;
}

static void put_hex(char *out, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

int access_hash(struct span password, unsigned iterations, char out[ACCESS_HASH_BYTES],
                struct error *e)
{
    unsigned char salt[16], hash[DIGEST_BYTES];
    char salt_hex[sizeof salt * 2 + 1], hash_hex[sizeof hash * 2 + 1];
    if (password.len == 0 || password.len > PASSWORD_BYTES_MAX) {
        return error_set(e, ERR_BADARG, "a password has 1 to %d bytes", PASSWORD_BYTES_MAX);
    }
    if (RAND_bytes(salt, sizeof salt) != 1 ||
        !derive(password, salt, sizeof salt, iterations, hash)) {
        return error_set(e, ERR_INTERNAL, "the password cannot be hashed");
    }
    put_hex(salt_hex, salt, sizeof salt);
    put_hex(hash_hex, hash, sizeof hash);
    (void)snprintf(out, ACCESS_HASH_BYTES, PREFIX "%u$%s$%s", iterations, salt_hex, hash_hex);
    return 0;
}

void access_learn(struct access *a, struct span name, struct span password,
                  struct policy_user *user)
{
    struct account *u = find(a, name);
    ASSERT(u != NULL);
    digest_of(a, password, u->digest);
    u->quick = true;
    *user = user_of(u);
}
