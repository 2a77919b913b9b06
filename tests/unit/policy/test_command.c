/* Command definitions, the registry, and the argument grammar (lua.md 1 and 2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "policy/command.h"

/* ---- Definitions made by hand (the VM makes them from Lua) --------------- */

static char *dup(const char *s) { return s == NULL ? NULL : mem_strndup(s, strlen(s)); }

/* "a|b" -> { "a", "b", NULL } */
static char **list(const char *words)
{
    char **out = mem_zalloc(8 * sizeof *out);
    size_t n = 0;
    while (words != NULL && *words != 0) {
        size_t len = strcspn(words, "|");
        out[n++] = mem_strndup(words, len);
        words += len + (words[len] == '|');
    }
    return out;
}

struct arg {
    const char *name;
    int type;
    const char *flags; /* o option, m many, ? optional */
    const char *dflt, *choices;
};

static struct command_def *make(const char *name, int kind, int read, const struct arg *args,
                                size_t n)
{
    struct command_def *def = mem_zalloc(sizeof *def);
    def->name = dup(name);
    def->group = dup("test");
    def->summary = dup("a test's own");
    def->example = dup(name);
    def->aliases = list(NULL);
    def->kind = kind;
    def->access = ACCESS_CLIENT;
    def->read = read;
    def->args = mem_zalloc((n + 1) * sizeof *def->args);
    def->args_count = n;
    for (size_t i = 0; i < n; i++) {
        const char *flags = args[i].flags != NULL ? args[i].flags : "";
        def->args[i].name = dup(args[i].name);
        def->args[i].type = args[i].type;
        def->args[i].option = strchr(flags, 'o') != NULL;
        def->args[i].many = strchr(flags, 'm') != NULL;
        def->args[i].optional = strchr(flags, '?') != NULL;
        def->args[i].dflt = dup(args[i].dflt);
        def->args[i].choices = args[i].choices != NULL ? list(args[i].choices) : NULL;
    }
    return def;
}

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define DEF(name, kind, read, ...)                                                                 \
    make(name, kind, read, (const struct arg[]){ __VA_ARGS__ },                                    \
         COUNT(((const struct arg[]){ __VA_ARGS__ })))

static struct registry *registry;

static void add(struct command_def *def)
{
    struct error e = { 0 };
    if (registry_add(registry, def, &e) != 0) {
        fail_msg("registry_add: %s", e.message);
    }
}

static int setup(void **state)
{
    (void)state;
    mem_test_fail_at(0);
    registry = registry_new();
    struct command_def *hold =
        DEF("hold", COMMAND_TRANSACTION, READ_NONE, { "event", ARG_EVENT, NULL, NULL, NULL },
            { "customer", ARG_CUSTOMER, NULL, NULL, NULL }, { "seats", ARG_SEAT, "m", NULL, NULL },
            { "ttl", ARG_DURATION, "o", NULL, NULL }, { "code", ARG_STRING, "om", NULL, NULL },
            { "metadata", ARG_JSON, "o", NULL, NULL });
    mem_free(hold->aliases);
    hold->aliases = list("reserve|take");
    add(hold);
    add(DEF("seats", COMMAND_TRANSACTION, READ_LOCAL, { "event", ARG_EVENT, NULL, NULL, NULL },
            { "full", ARG_BOOL, "o", NULL, NULL }));
    add(DEF("types", COMMAND_TRANSACTION, READ_NONE, { "int", ARG_INT, "?", "-7", NULL },
            { "bool", ARG_BOOL, "o", NULL, NULL }, { "json", ARG_JSON, "o", NULL, NULL },
            { "time", ARG_TIME, "o", NULL, NULL }, { "money", ARG_MONEY, "o", NULL, NULL },
            { "category", ARG_CATEGORY, "o", NULL, NULL }, { "node", ARG_NODE, "o", NULL, NULL },
            { "order", ARG_ORDER, "o", NULL, NULL },
            { "status", ARG_ONE_OF, "o", NULL, "held|booked" },
            { "limit", ARG_INT, "o", "100", NULL }));
    add(DEF("status", COMMAND_NODE, READ_NONE, { "node", ARG_NODE, "?", NULL, NULL }));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    registry_free(registry);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

/* ---- Parsing from one line ----------------------------------------------- */

static struct span words[64];

/* Splits at blanks; '_' inside a word stands for nothing special. */
static size_t split(const char *line)
{
    size_t n = 0;
    while (*line != 0) {
        size_t len = strcspn(line, " ");
        words[n++] = span_make(line, len);
        line += len + strspn(line + len, " ");
    }
    return n;
}

static int parse(const char *line, struct call *c, struct error *e)
{
    return call_parse(registry, split(line), words, c, e);
}

/* "event=1 customer=ann seats=A1" of what was parsed. */
static void show(const struct call *c, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < c->values_count && n < cap; i++) {
        const struct call_value *v = &c->values[i];
        int more = snprintf(out + n, cap - n, "%s%s=%.*s", i > 0 ? " " : "", v->def->name,
                            (int)v->text.len, v->text.data);
        n += (size_t)more;
    }
}

static void parses(const char *line, const char *want)
{
    struct call c = { 0 };
    struct error e = { 0 };
    char got[1000];
    if (parse(line, &c, &e) != 0) {
        fail_msg("%s: %s", line, e.message);
    }
    show(&c, got, sizeof got);
    assert_string_equal(got, want);
    call_free(&c);
}

static void refused(const char *line, int code, const char *text)
{
    struct call c = { 0 };
    struct error e = { 0 };
    char got[1000];
    int rc = parse(line, &c, &e);
    call_free(&c);
    if (rc == 0) {
        fail_msg("%s: was accepted", line);
    }
    error_format(&e, got, sizeof got);
    if (rc != code || strstr(got, text) == NULL) {
        fail_msg("%s:\n got %s\nwant %s ... %s", line, got, error_wire(code), text);
    }
}

/* Positionals come in order, options in definition order, repeated ones as given. */
static void test_values(void **state)
{
    (void)state;
    parses("hold 1 ann A1 A2", "event=1 customer=ann seats=A1 seats=A2");
    parses("HOLD 1 ann A1", "event=1 customer=ann seats=A1");
    parses("reserve 1 ann A1", "event=1 customer=ann seats=A1");
    parses("hold --code x --ttl 15m 1 --code=y ann A1 --metadata {\"a\":1}",
           "event=1 customer=ann seats=A1 ttl=15m code=x code=y metadata={\"a\":1}");
    parses("hold 1 ann --ttl=600 -- A1", "event=1 customer=ann seats=A1 ttl=600");
    parses("seats 1", "event=1");
    parses("seats 1 --full", "event=1 full=true");
    parses("seats 1 --full=no", "event=1 full=false");
    parses("status", "");
    parses("status localhost:6000", "node=localhost:6000");
}

/* Defaults stand where nothing was given, and are not part of the digest. */
static void test_defaults(void **state)
{
    (void)state;
    struct call c = { 0 }, d = { 0 };
    parses("types", "int=-7 limit=100");
    parses("types -12 --limit 5", "int=-12 limit=5");
    assert_int_equal(parse("types", &c, NULL), 0);
    assert_false(call_value(&c, "int")->given);
    assert_int_equal(call_value(&c, "int")->number, -7);
    assert_null(call_value(&c, "json"));
    assert_int_equal(parse("types -7", &d, NULL), 0);
    assert_true(c.args_digest != d.args_digest);
    call_free(&c);
    call_free(&d);
}

/* Values arrive as numbers where they are numbers. */
static void test_numbers(void **state)
{
    (void)state;
    struct call c = { 0 };
    assert_int_equal(parse("hold 1 ann A1 --ttl 15m", &c, NULL), 0);
    assert_int_equal(call_value(&c, "ttl")->number, 900000);
    call_free(&c);
    assert_int_equal(
        parse("types 9223372036854775807 --bool=YES --money -5 --status BOOKED", &c, NULL), 0);
    assert_true(call_value(&c, "int")->number == INT64_MAX);
    assert_int_equal(call_value(&c, "bool")->number, 1);
    assert_int_equal(call_value(&c, "money")->number, -5);
    assert_int_equal(call_value(&c, "status")->text.len, 6);
    assert_memory_equal(call_value(&c, "status")->text.data, "booked", 6);
    call_free(&c);
}

/* Times are ms since 1970 or a calendar date in UTC. */
static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = { { "0", 0 },
                 { "1700000000123", 1700000000123 },
                 { "1970-01-01", 0 },
                 { "2000-02-29T12:30", 951827400000 },
                 { "2026-05-01T10:00:30Z", 1777629630000 },
                 { "2100-03-01", 4107542400000 } };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arg_def def = { .type = ARG_TIME };
        struct call_value v = { .text = span_of(rows[i].text) };
        assert_int_equal(arg_check(&def, &v, NULL), 0);
        if (v.number != rows[i].ms) {
            fail_msg("%s: %lld", rows[i].text, (long long)v.number);
        }
    }
    refused("types --time 2100-02-29", ERR_BADARG, "--time: '2100-02-29' is not a time");
    refused("types --time 2026-13-01", ERR_BADARG, "not a time");
    refused("types --time 2026-05-01T24:00", ERR_BADARG, "not a time");
    refused("types --time -5", ERR_BADARG, "not a time");
    refused("types --time 2026-05-01T", ERR_BADARG, "not a time");
}

/* Each wrong request names the argument, says what is wrong and shows the usage. */
static void test_refusals(void **state)
{
    (void)state;
    refused("hold", ERR_BADARG, "hold needs event");
    refused("hold 1", ERR_BADARG, "hold needs customer");
    refused("hold 1 ann", ERR_BADARG, "hold needs seats");
    refused("hold 1 ann", ERR_BADARG,
            "; usage: hold EVENT CUSTOMER SEAT... [--ttl D] [--code CODE]... [--metadata J]");
    refused("hold 1:2 ann A1", ERR_BADARG, "event: '1:2' is not an id");
    refused("hold 1 a,b A1", ERR_BADARG, "customer: 'a,b' is not an id");
    refused("hold 1 -x A1", ERR_BADARG, "customer: '-x' is not an id");
    refused("hold 1 ann A1 --ttl", ERR_BADARG, "--ttl needs a value");
    refused("hold 1 ann A1 --ttl soon", ERR_BADARG, "--ttl: 'soon' is not a duration");
    refused("hold 1 ann A1 --ttl 1 --ttl 2", ERR_BADARG, "--ttl was given twice");
    refused("hold 1 ann A1 --tlt 5", ERR_BADARG, "unknown option --tlt, did you mean --ttl?");
    refused("hold 1 ann A1 --zzzzzz", ERR_BADARG, "unknown option --zzzzzz");
    refused("hold 1 ann A1 --metadata {", ERR_BADARG, "--metadata: JSON: the text ends too early");
    refused("hold 1 ann A1 --metadata @f.json", ERR_BADARG, "a file is read by the usher program");
    refused("hold 1 ann A1 --local", ERR_BADARG, "--local is for reads, and 'hold' is none");
    refused("hold 1 ann A1 --min-index 4", ERR_BADARG, "--min-index is for reads");
    refused("status --dry-run", ERR_BADARG, "--dry-run is for commands that book");
    refused("status --local", ERR_BADARG, "--local is for reads");
    refused("seats 1 2", ERR_BADARG, "'2' is one argument too many");
    refused("seats 1 --full=maybe", ERR_BADARG, "--full: 'maybe' is not true or false");
    refused("seats 1 --local=yes", ERR_BADARG, "--local takes no value");
    refused("seats 1 --min-index x", ERR_BADARG, "--min-index: 'x' is not a log index");
    refused("seats 1 --min-index -1", ERR_BADARG, "--min-index: '-1' is not a log index");
    refused("seats 1 --request a --request b", ERR_BADARG, "--request was given twice");
    refused("seats 1 --request a:b", ERR_BADARG, "--request: 'a:b' is not an id");
    refused("types x", ERR_BADARG, "int: 'x' is not an integer");
    refused("types 9223372036854775808", ERR_BADARG, "not an integer");
    refused("types --money 12.50", ERR_BADARG, "not an amount in minor units");
    refused("types --status gone", ERR_BADARG, "--status: 'gone' is not one of held, booked");
    refused("holt 1 ann A1", ERR_NOTFOUND, "unknown command 'holt'; did you mean 'hold'?");
    refused("qqqqqqqqq", ERR_NOTFOUND, "unknown command 'qqqqqqqqq'");
    refused("", ERR_NOTFOUND, "no command was given");
}

/* Options that every command has change how it runs, not what it is asked for. */
static void test_common_options(void **state)
{
    (void)state;
    struct call c = { 0 }, plain = { 0 };
    assert_int_equal(parse("hold 1 ann A1 --request r1 --dry-run", &c, NULL), 0);
    assert_int_equal(parse("hold 1 ann A1", &plain, NULL), 0);
    assert_true(c.dry_run);
    assert_int_equal(c.request.len, 2);
    assert_memory_equal(c.request.data, "r1", 2);
    assert_true(c.args_digest == plain.args_digest);
    call_free(&c);
    call_free(&plain);
    assert_int_equal(parse("seats 1 --linearizable --min-index=77 --request=q", &c, NULL), 0);
    assert_int_equal(c.read, READ_LINEARIZABLE);
    assert_int_equal(c.min_index, 77);
    call_free(&c);
    assert_int_equal(parse("seats 1", &c, NULL), 0);
    assert_int_equal(c.read, READ_LOCAL);
    call_free(&c);
}

/* The digest tells different requests apart and nothing else. */
static void test_digest(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "hold 1 ann A1 A2",
        "hold 1 ann A2 A1",
        "hold 1 ann A1",
        "hold 1 bob A1 A2",
        "hold 1 ann A1 A2 --ttl 5",
        "hold 1 ann A1 A2 --ttl 6",
        "hold 1 ann A1 --code A2",
        "seats 1",
    };
    uint64_t digests[COUNT(lines)];
    struct call c = { 0 };
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_int_equal(parse(lines[i], &c, NULL), 0);
        digests[i] = c.args_digest;
        call_free(&c);
        for (size_t j = 0; j < i; j++) {
            assert_true(digests[i] != digests[j]);
        }
    }
    assert_int_equal(parse("TAKE --ttl=5 1 ann -- A1 A2", &c, NULL), 0);
    assert_true(c.args_digest == digests[4]);
    call_free(&c);
}

/* argv, as it is forwarded and logged, parses to the same call. */
static void test_argv(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "RESERVE 1 ann A1 --request r9 --code=a --code b --dry-run -- A2",
        "seats 1 --full --local --min-index 9 --request z",
        "seats 1 --min-index=9 --linearizable",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct call c = { 0 }, again = { 0 };
        char one[1000], two[1000];
        assert_int_equal(parse(lines[i], &c, NULL), 0);
        struct reader r;
        reader_init(&r, c.argv.data, c.argv.len);
        size_t n = (size_t)reader_varint(&r);
        for (size_t k = 0; k < n; k++) {
            words[k] = reader_bytes(&r);
            assert_false(span_is(words[k], "--request"));
        }
        assert_false(r.failed);
        assert_int_equal(reader_left(&r), 0);
        assert_true(span_is(words[0], c.def->name));
        assert_int_equal(call_parse(registry, n, words, &again, NULL), 0);
        show(&c, one, sizeof one);
        show(&again, two, sizeof two);
        assert_string_equal(one, two);
        assert_true(c.args_digest == again.args_digest);
        assert_int_equal(c.dry_run, again.dry_run);
        assert_int_equal(c.read, again.read);
        assert_int_equal(c.min_index, again.min_index);
        call_free(&c);
        call_free(&again);
    }
}

/* Limits hold before anything is allocated. */
static void test_limits(void **state)
{
    (void)state;
    static struct span many[REQUEST_ARGS_MAX + 1];
    struct call c = { 0 };
    struct error e;
    many[0] = span_of("hold");
    for (size_t i = 1; i < COUNT(many); i++) {
        many[i] = span_of("A1");
    }
    assert_int_equal(call_parse(registry, REQUEST_ARGS_MAX, many, &c, &e), 0);
    assert_int_equal(c.values_count, REQUEST_ARGS_MAX - 1);
    call_free(&c);
    assert_int_equal(call_parse(registry, REQUEST_ARGS_MAX + 1, many, &c, &e), ERR_TOOBIG);
    char *big = malloc(REQUEST_BYTES_MAX + 1);
    memset(big, 'a', REQUEST_BYTES_MAX + 1);
    many[1] = span_make(big, REQUEST_BYTES_MAX + 1);
    assert_int_equal(call_parse(registry, 2, many, &c, &e), ERR_TOOBIG);
    many[1] = many[2] = span_make(big, REQUEST_BYTES_MAX / 2 + 100);
    assert_int_equal(call_parse(registry, 3, many, &c, &e), ERR_TOOBIG);
    assert_int_equal(call_parse(registry, 2, many, &c, &e), ERR_BADARG);
    call_free(&c);
    free(big);
}

/* A call that is used again allocates nothing and keeps nothing of the last one. */
static void test_reuse(void **state)
{
    (void)state;
    struct call c = { 0 };
    assert_int_equal(parse("hold 1 ann A1 A2 A3 --code x --request r --dry-run", &c, NULL), 0);
    mem_test_fail_at(UINT64_MAX);
    assert_int_equal(parse("hold 2 bob A1 A2", &c, NULL), 0);
    assert_int_equal(mem_test_count(), 0);
    assert_false(c.dry_run);
    assert_int_equal(c.request.len, 0);
    assert_int_equal(c.values_count, 4);
    assert_int_equal(parse("hold 2", &c, NULL), ERR_BADARG);
    assert_null(c.def);
    assert_int_equal(parse("seats 2", &c, NULL), 0);
    mem_test_fail_at(0);
    call_free(&c);
    call_free(&c);
}

/* Every allocation may fail: NOMEM, and nothing leaks. */
static void test_no_memory(void **state)
{
    (void)state;
    struct call c = { 0 };
    struct error e;
    int rc = ERR_NOMEM;
    for (uint64_t n = 1; rc != 0; n++) {
        assert_true(n < 20);
        int64_t live = mem_test_live();
        mem_test_fail_at(n);
        rc = parse("hold 1 ann A1 {\"seat\":\"A\\u0032\"}", &c, &e);
        mem_test_fail_at(0);
        call_free(&c);
        assert_int_equal(mem_test_live(), live);
        assert_true(rc == 0 || rc == ERR_NOMEM);
    }
}

/* ---- Seats --------------------------------------------------------------- */

static void seat(const char *text, const char *want)
{
    struct buf scratch = BUF_INIT;
    struct seat_word w;
    struct error e = { 0 };
    char got[500];
    if (seat_word_parse(span_of(text), &scratch, &w, &e) != 0) {
        snprintf(got, sizeof got, "%s", e.message);
    } else {
        snprintf(got, sizeof got, "%.*s|%.*s|%.*s|%u|%.*s|%.*s", (int)w.event.len, w.event.data,
                 (int)w.label.len, w.label.data, (int)w.to.len, w.to.data, w.count, (int)w.type.len,
                 w.type.data, (int)w.data.len, w.data.data);
    }
    buf_free(&scratch);
    if (strstr(got, want) == NULL) {
        fail_msg("%s: got %s, want %s", text, got, want);
    }
}

/* Seats as words: event, label, end of a range, count, ticket type. */
static void test_seat_words(void **state)
{
    (void)state;
    seat("A1", "|A1||0||");
    seat("2:A1", "2|A1||0||");
    seat("A1..A8", "|A1|A8|0||");
    seat("FLOOR*3", "|FLOOR||3||");
    seat("A1=child", "|A1||0|child|");
    seat("2:FLOOR*3=child", "2|FLOOR||3|child|");
    seat("2:A1..A8=child", "2|A1|A8|0|child|");
    seat("A.1", "|A.1||0||");
    seat("Ä1", "|Ä1||0||");
    seat("", "'' is not a seat");
    seat(":A1", "before the ':' is not an event");
    seat("2:", "is not a seat");
    seat("A1=", "after the '=' is not a ticket type");
    seat("FLOOR*", "a count of 1 or more");
    seat("FLOOR*0", "a count of 1 or more");
    seat("FLOOR*-1", "a count of 1 or more");
    seat("FLOOR*1001", "at most 1000 places");
    seat("FLOOR*99999999999999999999", "a count of 1 or more");
    seat("A..B*2", "|"); /* "A..B" is the area's name then */
    seat("a b", "is not a seat");
    seat("1:2:A1", "is not a seat");
    seat("-A", "is not a seat");
}

/* The same as JSON, with data; anything else in it is refused. */
static void test_seat_json(void **state)
{
    (void)state;
    seat("{\"seat\":\"A1\"}", "|A1||0||");
    seat("{\"seat\":\"A1\",\"event\":\"2\",\"type\":\"child\",\"data\":{\"age\": 7}}",
         "2|A1||0|child|{\"age\": 7}");
    seat("{\"data\":[1, [2]] , \"seat\":\"\\u0041\\u0031\", \"count\": 3}", "|A1||3||[1, [2]]");
    seat("{\"event\":\"\\u0032\",\"seat\":\"\\u0041\"}", "2|A||0||");
    seat("{}", "needs \"seat\"");
    seat("{\"seat\":5}", "are strings");
    seat("{\"seat\":\"A1\",\"row\":1}", "no member \"row\"");
    seat("{\"seat\":\"A1\",\"count\":0}", "\"count\" is an integer");
    seat("{\"seat\":\"A:1\"}", "is not a seat");
    seat("{\"seat\":\"A1\"} x", "something follows");
    seat("{\"seat\":\"A1\"", "ends too early");
    parses("hold 1 ann {\"seat\":\"A1\"} 2:A1",
           "event=1 customer=ann seats={\"seat\":\"A1\"} seats=2:A1");
    refused("hold 1 ann {\"seat\":7}", ERR_BADARG, "seats: a seat's \"seat\"");
}

/* A bare label is known as one, so that the VM need not look at it again. */
static void test_seat_plain(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool plain;
    } rows[] = {
        { "A1", true },    { "A.1.2", true }, { "A1..A2", false },           { "1:A1", false },
        { "A1=x", false }, { "F*2", false },  { "{\"seat\":\"A1\"}", false }
    };
    struct arg_def def = { .type = ARG_SEAT };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct call_value v = { .text = span_of(rows[i].text) };
        assert_int_equal(arg_check(&def, &v, NULL), 0);
        assert_int_equal(v.plain, rows[i].plain);
    }
}

/* ---- Registry ------------------------------------------------------------ */

static int try_add(struct command_def *def, const char *text)
{
    struct error e = { 0 };
    int rc = registry_add(registry, def, &e);
    if (rc != 0) {
        command_def_free(def);
        if (strstr(e.message, text) == NULL) {
            fail_msg("got %s, want %s", e.message, text);
        }
    }
    return rc;
}

/* Names are found ignoring case, listed sorted, and offered when misspelt. */
static void test_registry(void **state)
{
    (void)state;
    assert_int_equal(registry_count(registry), 4);
    assert_string_equal(registry_at(registry, 0)->name, "hold");
    assert_string_equal(registry_at(registry, 3)->name, "types");
    assert_ptr_equal(registry_find(registry, span_of("TaKe")),
                     registry_find(registry, span_of("hold")));
    assert_null(registry_find(registry, span_of("")));
    assert_string_equal(registry_nearest(registry, span_of("stats")), "seats");
    assert_null(registry_nearest(registry, span_of("zzzzzz")));
    registry_remove_kind(registry, COMMAND_TRANSACTION);
    assert_int_equal(registry_count(registry), 1);
    assert_null(registry_find(registry, span_of("hold")));
    assert_non_null(registry_find(registry, span_of("status")));
}

/* A definition is replaced by a later one of its kind, and never steals a name. */
static void test_registry_names(void **state)
{
    (void)state;
    struct arg none = { "x", ARG_STRING, "?", NULL, NULL };
    struct call c = { 0 };
    assert_int_equal(parse("seats 1", &c, NULL), 0);
    assert_int_equal(try_add(make("seats", COMMAND_TRANSACTION, READ_NONE, &none, 1), ""), 0);
    assert_int_equal(registry_count(registry), 4);
    assert_string_equal(c.def->args[0].name, "event"); /* the call keeps the old one alive */
    call_free(&c);
    assert_int_equal(try_add(make("seats", COMMAND_NODE, READ_NONE, &none, 1),
                             "'seats' is a transaction command"),
                     ERR_CONFLICT);
    assert_int_equal(try_add(make("take", COMMAND_TRANSACTION, READ_NONE, &none, 1),
                             "'take' is an alias of 'hold'"),
                     ERR_CONFLICT);
    struct command_def *def = make("other", COMMAND_NODE, READ_NONE, &none, 1);
    mem_free(def->aliases);
    def->aliases = list("hold");
    assert_int_equal(try_add(def, "the alias 'hold' of 'other' belongs to 'hold'"), ERR_CONFLICT);
    def = make("other", COMMAND_NODE, READ_NONE, &none, 1);
    mem_free(def->aliases);
    def->aliases = list("a|a");
    assert_int_equal(try_add(def, "twice"), ERR_BADARG);
    assert_int_equal(registry_count(registry), 4);
}

/* Definitions that make no sense are refused when they are added, not when used. */
static void test_bad_definitions(void **state)
{
    (void)state;
    static const struct {
        struct arg a, b;
        const char *text;
    } rows[] = {
        { { "a", ARG_STRING, "m", 0, 0 }, { "b", ARG_INT, "", 0, 0 }, "after the last" },
        { { "a", ARG_STRING, "o", 0, 0 }, { "b", ARG_INT, "", 0, 0 }, "after the last" },
        { { "a", ARG_STRING, "?", 0, 0 }, { "b", ARG_INT, "", 0, 0 }, "required after" },
        { { "a", ARG_STRING, "", 0, 0 }, { "a", ARG_INT, "", 0, 0 }, "two arguments" },
        { { "a", ARG_STRING, "", 0, 0 }, { "local", ARG_BOOL, "o", 0, 0 }, "every command" },
        { { "a", ARG_ONE_OF, "", 0, "" }, { "b", ARG_INT, "", 0, 0 }, "no choices" },
        { { "A", ARG_STRING, "", 0, 0 }, { "b", ARG_INT, "", 0, 0 }, "wrong argument name" },
        { { "a", ARG_STRING, "", 0, 0 }, { "b", ARG_INT, "", "x", 0 }, "the default of 'b'" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct arg args[] = { rows[i].a, rows[i].b };
        assert_int_equal(try_add(make("bad", COMMAND_NODE, 0, args, 2), rows[i].text), ERR_BADARG);
    }
    assert_int_equal(try_add(make("Bad", COMMAND_NODE, 0, &rows[0].a, 1), "cannot be"), ERR_BADARG);
    assert_int_equal(try_add(make("", COMMAND_NODE, 0, &rows[0].a, 1), "cannot be"), ERR_BADARG);
}

/* A registry that cannot grow stays as it was. */
static void test_registry_no_memory(void **state)
{
    (void)state;
    struct arg none = { "x", ARG_STRING, "?", NULL, NULL };
    struct command_def *def = make("other", COMMAND_NODE, 0, &none, 1);
    mem_test_fail_at(1);
    assert_int_equal(registry_add(registry, def, NULL), ERR_NOMEM);
    mem_test_fail_at(0);
    assert_int_equal(registry_count(registry), 4);
    assert_non_null(registry_find(registry, span_of("hold")));
    command_def_free(def);
}

/* ---- Usage and JSON ------------------------------------------------------ */

/* The usage shows what may be left out and what repeats. */
static void test_usage(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    command_usage(registry_find(registry, span_of("types")), &b);
    buf_put_u8(&b, 0);
    assert_string_equal((char *)b.data,
                        "types [INT] [--bool] [--json J] [--time TIME] [--money MONEY] [--category "
                        "CATEGORY] [--node NODE] [--order ORDER] [--status held|booked] [--limit "
                        "N]");
    buf_free(&b);
}

/* Help, completion and OpenAPI read the definition as JSON. */
static void test_json(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    command_json(registry_find(registry, span_of("seats")), &b);
    buf_put_u8(&b, 0);
    assert_string_equal(
        (char *)b.data,
        "{\"name\":\"seats\",\"aliases\":[],\"kind\":\"transaction\",\"group\":\"test\","
        "\"access\":\"client\",\"read\":\"local\",\"summary\":\"a test's own\","
        "\"usage\":\"seats EVENT [--full]\",\"example\":\"seats\",\"args\":[{\"name\":\"event\","
        "\"type\":\"event\",\"option\":false,\"required\":true,\"many\":false,\"value\":\"EVENT\","
        "\"help\":\"its id, as `events` lists it\"},"
        "{\"name\":\"full\",\"type\":\"bool\",\"option\":true,\"required\":false,\"many\":false,"
        "\"value\":\"FULL\"}]}");
    buf_free(&b);
    assert_int_equal(arg_type_parse(span_of("one_of")), ARG_ONE_OF);
    assert_int_equal(arg_type_parse(span_of("many")), -1);
    assert_int_equal(access_parse(span_of("operator")), ACCESS_OPERATOR);
    assert_int_equal(access_parse(span_of("root")), -1);
}

/* The hot path: printed for the record; the bound only catches a blunder. */
static void test_speed(void **state)
{
    (void)state;
    enum { ROUNDS = 200000 };
    struct timespec a, b;
    size_t n = split("HOLD 1 ann A1 A2");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    struct call c = { 0 };
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(call_parse(registry, n, words, &c, NULL), 0);
    }
    call_free(&c);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / ROUNDS;
    print_message("HOLD 1 ann A1 A2: %.0f ns\n", ns);
    assert_true(ns < 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(test_values),          T(test_defaults),
        T(test_numbers),         T(test_times),
        T(test_refusals),        T(test_common_options),
        T(test_digest),          T(test_argv),
        T(test_limits),          T(test_no_memory),
        T(test_reuse),           T(test_seat_words),
        T(test_seat_json),       T(test_seat_plain),
        T(test_registry),        T(test_registry_names),
        T(test_bad_definitions), T(test_registry_no_memory),
        T(test_usage),           T(test_json),
        T(test_speed),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
