/* Addresses: what is one and what is not. That localhost needs no resolver is shown by
 * spec/functional/input_spec.lua with the whole program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* Both parts of an address come out, and its port as a number. */
static void test_split(void **state)
{
    static const struct {
        const char *address, *host, *port;
        unsigned value;
    } cases[] = {
        { "localhost:6000", "localhost", "6000", 6000 }, { "a.example:1", "a.example", "1", 1 },
        { "[::1]:65535", "::1", "65535", 65535 },        { "*:80", "*", "80", 80 },
        { "127.0.0.1:080", "127.0.0.1", "080", 80 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char host[16], port[ADDRESS_PORT_BYTES];
        assert_int_equal(address_split(cases[i].address, host, sizeof host, port), cases[i].value);
        assert_string_equal(host, cases[i].host);
        assert_string_equal(port, cases[i].port);
    }
}

/* Anything else is none, and a host that does not fit is not cut. */
static void test_refused(void **state)
{
    static const char *const cases[] = {
        "",        "host",    "host:",  ":1",   "host:0",      "host:65536",        "host:99999",
        "host:1x", "host:-1", "[::1:1", "[]:1", "host:123456", "0123456789abcdef:1"
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char host[16], port[ADDRESS_PORT_BYTES];
        assert_int_equal(address_split(cases[i], host, sizeof host, port), 0);
    }
}

/* Only localhost has a meaning of its own. */
static void test_fallback(void **state)
{
    (void)state;
    assert_string_equal(address_fallback("localhost"), "127.0.0.1");
    assert_string_equal(address_fallback("LocalHost"), "127.0.0.1");
    assert_null(address_fallback("localhost.example"));
    assert_null(address_fallback("127.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_split),
                                        cmocka_unit_test(test_refused),
                                        cmocka_unit_test(test_fallback) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
