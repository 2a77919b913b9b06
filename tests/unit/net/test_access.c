/* Users and passwords, and who speaks on a new connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/access.h"
#include "net/sniff.h"

static enum access_verdict check(const struct access *a, const char *name, const char *password,
                                 struct policy_user *user)
{
    return access_check(a, span_of(name), span_of(password), user);
}

/* Without users everybody is admin, with users a stranger is public. */
static void test_anonymous(void **state)
{
    (void)state;
    struct error e;
    struct access *a = access_new();
    assert_int_equal(access_anonymous(NULL).access, ACCESS_ADMIN);
    assert_int_equal(access_anonymous(a).access, ACCESS_ADMIN);
    assert_int_equal(access_add(a, "ann", "pw", ACCESS_CLIENT, NULL, &e), 0);
    assert_int_equal(access_anonymous(a).access, ACCESS_PUBLIC);
    access_free(a);
}

/* The right password gives the user with access and roles; anything else gives nothing. */
static void test_plain(void **state)
{
    (void)state;
    struct error e;
    struct policy_user u = { { "", 0 }, 0, NULL };
    const char *roles[] = { "desk", "vip", NULL };
    struct access *a = access_new();
    assert_int_equal(access_add(a, "ann", "pw", ACCESS_OPERATOR, roles, &e), 0);
    assert_int_equal(access_add(a, "bob", "pw2", ACCESS_CLIENT, NULL, &e), 0);
    assert_int_equal(check(a, "ann", "pw", &u), ACCESS_RIGHT);
    assert_true(span_is(u.name, "ann"));
    assert_int_equal(u.access, ACCESS_OPERATOR);
    assert_string_equal(u.roles[1], "vip");
    assert_null(u.roles[2]);
    assert_int_equal(check(a, "ann", "pw2", &u), ACCESS_WRONG);
    assert_int_equal(check(a, "ann", "", &u), ACCESS_WRONG);
    assert_int_equal(check(a, "", "pw", &u), ACCESS_WRONG);
    assert_int_equal(check(a, "eve", "pw", &u), ACCESS_WRONG);
    access_free(a);
}

/* A hash is checked slowly once; then its password is as quick as the others. */
static void test_hash(void **state)
{
    (void)state;
    struct error e;
    struct policy_user u = { { "", 0 }, 0, NULL };
    struct access *a = access_new();
    assert_int_equal(access_add(a, "slow",
                                "pbkdf2-sha256$1000$00ff$"
                                "8106be460633297de9fa5b3a99e16b7341cf44d2b5eba5230ade70da13705570",
                                ACCESS_ADMIN, NULL, &e),
                     0);
    assert_int_equal(check(a, "slow", "slow", &u), ACCESS_SLOW);
    assert_false(access_check_slow(a, span_of("slow"), span_of("slo")));
    assert_false(access_check_slow(a, span_of("eve"), span_of("slow")));
    assert_true(access_check_slow(a, span_of("slow"), span_of("slow")));
    access_learn(a, span_of("slow"), span_of("slow"), &u);
    assert_int_equal(check(a, "slow", "slow", &u), ACCESS_RIGHT);
    assert_int_equal(check(a, "slow", "wrong", &u), ACCESS_SLOW);
    access_free(a);
}

/* What cannot be a user is refused with a reason. */
static void test_bad_users(void **state)
{
    (void)state;
    struct error e;
    struct access *a = access_new();
    assert_int_equal(access_add(a, "", "pw", ACCESS_CLIENT, NULL, &e), ERR_BADARG);
    assert_int_equal(access_add(a, "a b", "pw", ACCESS_CLIENT, NULL, &e), ERR_BADARG);
    assert_int_equal(access_add(a, "ann", "", ACCESS_CLIENT, NULL, &e), ERR_BADARG);
    assert_int_equal(access_add(a, "ann", "pw", ACCESS_CLIENT, NULL, &e), 0);
    assert_int_equal(access_add(a, "ann", "pw", ACCESS_CLIENT, NULL, &e), ERR_BADARG);
    static const char *const hashes[] = { "pbkdf2-sha256$",         "pbkdf2-sha256$0$00$00",
                                          "pbkdf2-sha256$1$0$00",   "pbkdf2-sha256$1$00$zz",
                                          "pbkdf2-sha256$1$00$001", "pbkdf2-sha256$x$00$00" };
    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++) {
        assert_int_equal(access_add(a, "bob", hashes[i], ACCESS_CLIENT, NULL, &e), ERR_BADARG);
    }
    assert_int_equal(access_count(a), 1);
    access_free(a);
}

/* The first bytes decide, and never more are asked for than could decide. */
static void test_sniff(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum sniff verdict;
        size_t need;
    } cases[] = {
        { "", 0, SNIFF_MORE, 1 },
        { "*1\r\n", 4, SNIFF_RESP, 0 },
        { "PING\r\n", 6, SNIFF_RESP, 0 },
        { "hold 1", 6, SNIFF_RESP, 0 },
        { "\0", 1, SNIFF_MORE, 8 },
        { "\0USHER1\n", 8, SNIFF_PEER, 0 },
        { "\0USHER2\n", 8, SNIFF_RESP, 0 },
        { "\0USHER1\nmore", 12, SNIFF_PEER, 0 },
        { "G", 1, SNIFF_MORE, 5 },
        { "GET ", 4, SNIFF_MORE, 5 },
        { "GET /", 5, SNIFF_HTTP, 0 },
        { "GET key\r\n", 9, SNIFF_RESP, 0 },
        { "POST /v1/hold HTTP/1.1\r\n", 24, SNIFF_HTTP, 0 },
        { "DELETE /", 8, SNIFF_HTTP, 0 },
        { "\x16\x03\x01", 3, SNIFF_TLS, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t need = 0;
        assert_int_equal(sniff(cases[i].bytes, cases[i].len, &need), cases[i].verdict);
        if (cases[i].verdict == SNIFF_MORE) {
            assert_int_equal(need, cases[i].need);
        }
    }
}

static int no_leaks(void **state)
{
    (void)state;
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

/* A hash that access_hash made lets its password in; an unknown name is as slow as a known one. */
static void test_made_hash(void **state)
{
    (void)state;
    struct error e;
    char hash[ACCESS_HASH_BYTES], again[ACCESS_HASH_BYTES];
    struct policy_user u = { { "", 0 }, 0, NULL };
    struct access *a = access_new();
    assert_int_equal(access_hash(span_of("pw"), 1000, hash, &e), 0);
    assert_int_equal(access_hash(span_of("pw"), 1000, again, &e), 0);
    assert_string_not_equal(hash, again);
    assert_int_equal(access_hash(span_of(""), 1000, again, &e), ERR_BADARG);
    assert_int_equal(check(a, "eve", "pw", &u), ACCESS_WRONG);
    assert_int_equal(access_add(a, "ann", hash, ACCESS_CLIENT, NULL, &e), 0);
    assert_int_equal(check(a, "ann", "pw", &u), ACCESS_SLOW);
    assert_true(access_check_slow(a, span_of("ann"), span_of("pw")));
    assert_false(access_check_slow(a, span_of("ann"), span_of("PW")));
    assert_int_equal(check(a, "eve", "pw", &u), ACCESS_SLOW);
    assert_false(access_check_slow(a, span_of("eve"), span_of("pw")));
    access_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_anonymous, no_leaks),
        cmocka_unit_test_teardown(test_plain, no_leaks),
        cmocka_unit_test_teardown(test_hash, no_leaks),
        cmocka_unit_test_teardown(test_bad_users, no_leaks),
        cmocka_unit_test_teardown(test_made_hash, no_leaks),
        cmocka_unit_test(test_sniff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
