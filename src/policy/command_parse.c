/* The argument grammar: words of a request -> checked values in definition order.
 *
 * Hot path: `HOLD 1 ann A1 A2` takes two allocations and well under a microsecond. The
 * words are copied once, into `argv` (the form in which a request is forwarded and
 * logged), and values point into that copy.
 *
 *   argv      varint count, then length and bytes of each word; reserved for the longest
 *             case before the first word is put, so that spans into it never move
 *   arena     one array of struct call_value: first the result, behind it the options as
 *             they came (they are sorted into definition order at the end)
 *
 * How it fails: the first wrong word ends the parse with a sentence that names the
 * argument, and with the usage as the hint. Nothing is kept then.
 *
 * Invariants:
 *   1. values_count <= cap, the number the arena was made for.
 *   2. argv and arena are never reallocated once a value points into them.
 *   3. args_digest depends on names and texts given, never on the order of options, on
 *      spelling of the command, on defaults or on the position of an argument in its
 *      definition: a retry after an upgrade has the same digest. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/text.h"
#include "policy/command.h"

#define SHOWN(s) (int)((s).len < 60 ? (s).len : 60), (s).data != NULL ? (s).data : ""

struct parse {
    struct call *call;
    const struct command_def *def;
    const struct span *argv;
    size_t argc, at;
    struct call_value *options; /* as they came */
    size_t options_count, values_cap;
    const struct arg_def *positional; /* next one, or the one that repeats */
    const struct arg_def *end;        /* behind the last definition */
    size_t words;                     /* words put into argv */
    bool seen_request, seen_min_index;
    struct error *e;
};

/* Every wrong request ends here: the usage is what the caller needs next. */
static int wrong(struct parse *p, int code)
{
    if (p->e != NULL && p->e->hint[0] == 0) {
        struct buf usage = BUF_INIT;
        command_usage(p->def, &usage);
        error_hint(p->e, "usage: %.*s", (int)usage.len,
                   usage.data != NULL ? (const char *)usage.data : "");
        buf_free(&usage);
    }
    return code;
}

/* ---- argv ---------------------------------------------------------------- */

static struct span put_word(struct parse *p, struct span word)
{
    struct buf *b = &p->call->argv;
    buf_put_varint(b, word.len);
    ASSERT(!b->failed && b->cap - b->len >= word.len);
    char *at = (char *)b->data + b->len;
    if (word.len > 0) {
        memcpy(at, word.data, word.len);
        b->len += word.len;
    }
    p->words++;
    return span_make(at, word.len);
}

/* The count stands before the words and is known only after them (--request is left out):
 * two bytes are kept for it, a varint padded with a continuation bit. */
static void put_count(struct parse *p)
{
    uint8_t *at = p->call->argv.data;
    at[0] = (uint8_t)(0x80 | (p->words & 0x7f));
    at[1] = (uint8_t)(p->words >> 7);
}

_Static_assert(REQUEST_ARGS_MAX < 1 << 14, "the count of words is kept in two varint bytes");

/* ---- Values -------------------------------------------------------------- */

static int put_value(struct parse *p, struct call_value *v, const struct arg_def *def,
                     struct span text)
{
    *v = (struct call_value){ .def = def, .text = text, .given = true };
    int rc = arg_check(def, v, p->e);
    if (rc != 0) {
        error_prefix(p->e, "%s%s", def->option ? "--" : "", def->name);
        return wrong(p, rc);
    }
    return 0;
}

static int take_positional(struct parse *p, struct span text)
{
    if (p->positional == p->end || p->positional->option) {
        error_set(p->e, ERR_BADARG, "'%.*s' is one argument too many", SHOWN(text));
        return wrong(p, ERR_BADARG);
    }
    const struct arg_def *def = p->positional;
    p->positional += !def->many;
    ASSERT(p->call->values_count < p->values_cap);
    return put_value(p, &p->call->values[p->call->values_count++], def, text);
}

/* ---- Options ------------------------------------------------------------- */

static bool name_is(struct span given, const char *name)
{
    size_t i = 0;
    for (; i < given.len && name[i] != 0; i++) {
        char a = given.data[i] == '_' ? '-' : given.data[i], b = name[i] == '_' ? '-' : name[i];
        if (a != b) {
            return false;
        }
    }
    return i == given.len && name[i] == 0;
}

static int option_value(struct parse *p, struct span name, struct span inlined, struct span *value)
{
    if (inlined.data != NULL) {
        *value = inlined;
        return 0;
    }
    if (p->at + 1 >= p->argc) {
        error_set(p->e, ERR_BADARG, "--%.*s needs a value", SHOWN(name));
        return wrong(p, ERR_BADARG);
    }
    *value = p->argv[++p->at];
    return 0;
}

static const char *nearest_option(struct parse *p, struct span name)
{
    static const char *const common[] = { "request", "dry-run",      "min-index",
                                          "local",   "linearizable", NULL };
    const char *best = text_nearest(name, common);
    for (const struct arg_def *a = p->def->args; a != p->end; a++) {
        const char *const one[] = { a->name, NULL };
        const char *near = a->option ? text_nearest(name, one) : NULL;
        if (near != NULL &&
            (best == NULL || text_distance(name, span_of(near), TEXT_DISTANCE_MAX) <
                                 text_distance(name, span_of(best), TEXT_DISTANCE_MAX))) {
            best = near;
        }
    }
    return best;
}

static int unknown_option(struct parse *p, struct span name)
{
    const char *near = nearest_option(p, name);
    if (near != NULL) {
        error_set(p->e, ERR_BADARG, "unknown option --%.*s, did you mean --%s?", SHOWN(name), near);
    } else {
        error_set(p->e, ERR_BADARG, "unknown option --%.*s", SHOWN(name));
    }
    return wrong(p, ERR_BADARG);
}

static int no_value(struct parse *p, struct span name, struct span inlined)
{
    if (inlined.data == NULL) {
        return 0;
    }
    error_set(p->e, ERR_BADARG, "--%.*s takes no value", SHOWN(name));
    return wrong(p, ERR_BADARG);
}

bool command_names_request(struct span word)
{
    static const char name[] = "--request";
    size_t n = sizeof name - 1;
    return word.len >= n && memcmp(word.data, name, n) == 0 &&
           (word.len == n || word.data[n] == '=');
}

static int request_option(struct parse *p, struct span inlined)
{
    struct span value = { 0 };
    int rc = option_value(p, span_of("request"), inlined, &value);
    if (rc != 0) {
        return rc;
    }
    if (p->seen_request || !text_is_id(value)) {
        error_set(p->e, ERR_BADARG,
                  p->seen_request ? "--request was given twice" : "--request: '%.*s' is not an id",
                  SHOWN(value));
        return wrong(p, ERR_BADARG);
    }
    p->seen_request = true;
    p->call->request = value; /* copied behind the words at the end */
    return 0;
}

static int min_index_option(struct parse *p, struct span inlined)
{
    struct span value = { 0 };
    int64_t n;
    int rc = option_value(p, span_of("min-index"), inlined, &value);
    if (rc != 0) {
        return rc;
    }
    if (p->seen_min_index || !text_int64(value, &n) || n < 0) {
        error_set(p->e, ERR_BADARG,
                  p->seen_min_index ? "--min-index was given twice"
                                    : "--min-index: '%.*s' is not a log index",
                  SHOWN(value));
        return wrong(p, ERR_BADARG);
    }
    p->seen_min_index = true;
    p->call->min_index = (uint64_t)n;
    if (inlined.data == NULL) {
        put_word(p, p->argv[p->at - 1]);
    }
    put_word(p, p->argv[p->at]);
    return 0;
}

/* Options of every command. *known is false for any other. */
static int common_option(struct parse *p, struct span name, struct span inlined, bool *known)
{
    const struct command_def *def = p->def;
    bool local = name_is(name, "local"), linearizable = name_is(name, "linearizable");
    bool dry_run = name_is(name, "dry-run"), min_index = name_is(name, "min-index");
    *known = true;
    if (name_is(name, "request")) {
        return request_option(p, inlined);
    }
    if (dry_run && def->kind != COMMAND_TRANSACTION) {
        error_set(p->e, ERR_BADARG, "--dry-run is for commands that book, and '%s' is none",
                  def->name);
        return wrong(p, ERR_BADARG);
    }
    if ((local || linearizable || min_index) &&
        (def->kind != COMMAND_TRANSACTION || def->read == READ_NONE)) {
        error_set(p->e, ERR_BADARG, "--%.*s is for reads, and '%s' is none", SHOWN(name),
                  def->name);
        return wrong(p, ERR_BADARG);
    }
    if (min_index) {
        return min_index_option(p, inlined);
    }
    if (!dry_run && !local && !linearizable) {
        *known = false;
        return 0;
    }
    if (dry_run) {
        p->call->dry_run = true;
    } else {
        p->call->read = local ? READ_LOCAL : READ_LINEARIZABLE;
        p->call->any_age = local;
    }
    put_word(p, p->argv[p->at]);
    return no_value(p, name, inlined);
}

static const struct arg_def *find_option(const struct parse *p, struct span name)
{
    for (const struct arg_def *a = p->def->args; a != p->end; a++) {
        if (a->option && name_is(name, a->name)) {
            return a;
        }
    }
    return NULL;
}

static int own_option(struct parse *p, const struct arg_def *def, struct span inlined)
{
    struct span word = p->argv[p->at];
    struct span text = span_make("true", 4);
    if (!def->many) {
        for (size_t i = 0; i < p->options_count; i++) {
            if (p->options[i].def == def) {
                error_set(p->e, ERR_BADARG, "--%s was given twice", def->name);
                return wrong(p, ERR_BADARG);
            }
        }
    }
    struct span copy = put_word(p, word);
    if (inlined.data != NULL) {
        text = span_make(copy.data + (inlined.data - word.data), inlined.len);
    } else if (def->type != ARG_BOOL) {
        int rc = option_value(p, span_of(def->name), inlined, &text);
        if (rc != 0) {
            return rc;
        }
        text = put_word(p, text);
    }
    ASSERT(p->options_count < p->argc);
    return put_value(p, &p->options[p->options_count++], def, text);
}

/* p->argv[p->at] is "--name" or "--name=value". */
static int take_option(struct parse *p)
{
    struct span word = p->argv[p->at];
    struct span name = span_make(word.data + 2, word.len - 2), inlined = { 0 };
    const char *equals = memchr(name.data, '=', name.len);
    if (equals != NULL) {
        inlined = span_make(equals + 1, (size_t)(name.data + name.len - equals - 1));
        name.len = (size_t)(equals - name.data);
    }
    const struct arg_def *def = find_option(p, name);
    if (def != NULL) {
        return own_option(p, def, inlined);
    }
    bool known;
    int rc = common_option(p, name, inlined, &known);
    return known ? rc : unknown_option(p, name);
}

/* ---- Putting it together ------------------------------------------------- */

static int missing(struct parse *p)
{
    const struct arg_def *def = p->positional;
    error_set(p->e, ERR_BADARG, "%s needs %s: nothing was given", p->def->name, def->name);
    if (def->help != NULL) {
        error_set(p->e, ERR_BADARG, "%s needs %s (%s): nothing was given", p->def->name, def->name,
                  def->help);
    }
    return wrong(p, ERR_BADARG);
}

static bool was_given(const struct call *c, const struct arg_def *def)
{
    for (size_t i = 0; i < c->values_count; i++) {
        if (c->values[i].def == def) {
            return true;
        }
    }
    return false;
}

static void put_default(struct parse *p, const struct arg_def *def)
{
    ASSERT(p->call->values_count < p->values_cap);
    struct call_value *v = &p->call->values[p->call->values_count++];
    *v = (struct call_value){ .def = def, .text = span_of(def->dflt) };
    (void)arg_check(def, v, NULL); /* checked when the definition was added */
}

/* Optional positionals that were not given, then options, in definition order. */
static int finish_values(struct parse *p)
{
    struct call *c = p->call;
    const struct arg_def *a = p->positional;
    if (a != p->end && !a->option && !a->optional && a->dflt == NULL &&
        !(a->many && was_given(c, a))) {
        return missing(p);
    }
    for (; a != p->end; a++) {
        bool given = !a->option && was_given(c, a);
        for (size_t i = 0; a->option && i < p->options_count; i++) {
            if (p->options[i].def == a) {
                ASSERT(c->values_count < p->values_cap);
                c->values[c->values_count++] = p->options[i];
                given = true;
            }
        }
        if (!given && a->dflt != NULL) {
            put_default(p, a);
        }
    }
    return 0;
}

static uint64_t digest(const struct call *c)
{
    uint64_t d = hash64(c->def->name, strlen(c->def->name));
    for (size_t i = 0; i < c->values_count; i++) {
        const struct call_value *v = &c->values[i];
        if (v->given) {
            uint64_t name = hash64(v->def->name, strlen(v->def->name));
            d = hash_mix(d, hash64_seed(v->text.data, v->text.len, name));
        }
    }
    return d;
}

static int parse_words(struct parse *p)
{
    bool ended = false;
    for (p->at = 1; p->at < p->argc; p->at++) {
        struct span word = p->argv[p->at];
        bool dashes = !ended && word.len >= 2 && word.data[0] == '-' && word.data[1] == '-';
        int rc = 0;
        if (dashes && word.len == 2) {
            ended = true;
            put_word(p, word);
        } else if (dashes) {
            rc = take_option(p);
        } else {
            rc = take_positional(p, put_word(p, word));
        }
        if (rc != 0) {
            return rc;
        }
    }
    return finish_values(p);
}

static int check_size(size_t argc, const struct span *argv, size_t *bytes, struct error *e)
{
    *bytes = 0;
    if (argc > REQUEST_ARGS_MAX) {
        return error_set(e, ERR_TOOBIG, "%zu arguments: at most %d go into one request", argc,
                         REQUEST_ARGS_MAX);
    }
    for (size_t i = 0; i < argc; i++) {
        *bytes += argv[i].len + 10;
        if (argv[i].len > REQUEST_BYTES_MAX || *bytes > REQUEST_BYTES_MAX + 10 * argc) {
            return error_set(e, ERR_TOOBIG, "the request is over %d bytes", REQUEST_BYTES_MAX);
        }
    }
    return 0;
}

static int unknown_command(const struct registry *r, struct span name, struct error *e)
{
    const char *near = registry_nearest(r, name);
    if (name.len == 0) {
        return error_set(e, ERR_NOTFOUND, "no command was given");
    }
    error_set(e, ERR_NOTFOUND, "unknown command '%.*s'", SHOWN(name));
    if (near != NULL) {
        error_hint(e, "did you mean '%s'?", near);
    }
    return ERR_NOTFOUND;
}

/* Memory for everything, and the command's own name as the first word. */
static int reserve(struct parse *p, size_t bytes)
{
    struct call *c = p->call;
    p->values_cap = p->argc + p->def->args_count;
    size_t cells = p->values_cap + p->argc;
    size_t words = bytes + strlen(p->def->name) + 32;
    if (!buf_reserve(&c->arena, cells * sizeof(struct call_value)) ||
        !buf_reserve(&c->argv, words)) {
        (void)error_set(p->e, ERR_NOMEM, "out of memory");
        return ERR_NOMEM;
    }
    c->arena.len = cells * sizeof(struct call_value);
    c->values = (struct call_value *)(void *)c->arena.data;
    p->options = c->values + p->values_cap;
    c->argv.len = 2;
    put_word(p, span_of(p->def->name));
    return 0;
}

/* Empty, but with its memory. */
static void call_clear(struct call *c)
{
    struct buf arena = c->arena, argv = c->argv;
    command_def_free((struct command_def *)(uintptr_t)c->def);
    buf_clear(&arena);
    buf_clear(&argv);
    *c = (struct call){ .arena = arena, .argv = argv };
}

int call_parse(const struct registry *r, size_t argc, const struct span *argv, struct call *out,
               struct error *e)
{
    size_t bytes;
    call_clear(out);
    int rc = check_size(argc, argv, &bytes, e);
    if (rc != 0) {
        return rc;
    }
    const struct command_def *def = argc > 0 ? registry_find(r, argv[0]) : NULL;
    if (def == NULL) {
        return unknown_command(r, argc > 0 ? argv[0] : (struct span){ 0 }, e);
    }
    struct parse p = { .call = out, .def = def, .argv = argv, .argc = argc, .e = e };
    p.positional = def->args;
    p.end = def->args_count > 0 ? def->args + def->args_count : def->args;
    out->def = def;
    out->read = def->read;
    error_clear(e);
    rc = reserve(&p, bytes);
    rc = rc != 0 ? rc : parse_words(&p);
    if (rc != 0) {
        out->def = NULL; /* not held yet */
        call_clear(out);
        return rc;
    }
    put_count(&p);
    if (p.seen_request) { /* behind the last word, outside argv.len */
        char *at = (char *)out->argv.data + out->argv.len;
        ASSERT(out->argv.cap - out->argv.len >= out->request.len);
        memcpy(at, out->request.data, out->request.len);
        out->request.data = at;
    }
    out->args_digest = digest(out);
    ((struct command_def *)(uintptr_t)def)->refs++;
    return 0;
}

void call_free(struct call *c)
{
    call_clear(c);
    buf_free(&c->arena);
    buf_free(&c->argv);
    memset(c, 0, sizeof *c);
}

const struct call_value *call_value(const struct call *c, const char *name)
{
    for (size_t i = 0; i < c->values_count; i++) {
        if (strcmp(c->values[i].def->name, name) == 0) {
            return &c->values[i];
        }
    }
    return NULL;
}
