/* What a command definition is: names of types and levels, the check a definition must
 * pass before it enters the registry (command_registry.c), its usage line and its JSON.
 * The grammar of requests is in command_parse.c, that of single values in
 * command_value.c. */
#include "policy/command.h"

#include <ctype.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

static const char *const type_names[] = {
    [ARG_STRING] = "string",     [ARG_INT] = "int",           [ARG_BOOL] = "bool",
    [ARG_JSON] = "json",         [ARG_DURATION] = "duration", [ARG_TIME] = "time",
    [ARG_MONEY] = "money",       [ARG_EVENT] = "event",       [ARG_SEAT] = "seat",
    [ARG_ORDER] = "order",       [ARG_CHART] = "chart",       [ARG_CUSTOMER] = "customer",
    [ARG_CATEGORY] = "category", [ARG_NODE] = "node",         [ARG_FILE] = "file",
    [ARG_ONE_OF] = "one_of",     [ARG_ONE_OF + 1] = NULL,
};
static const char *const level_names[] = { "public", "client", "operator", "admin", NULL };
static const char *const read_names[] = { NULL, "local", "linearizable" };
static const char *const reserved[] = { "request",   "dry-run", "dry_run",     "min-index",
                                        "min_index", "local",   "linearizable" };

static int name_index(const char *const *names, struct span name)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (span_is(name, names[i])) {
            return i;
        }
    }
    return -1;
}

const char *arg_type_name(int type)
{
    return type >= 0 && type <= ARG_ONE_OF ? type_names[type] : "?";
}
/* Where a definition says no more itself: for help, prompts and completion. */
const char *arg_type_help(int type)
{
    switch (type) {
    case ARG_INT: return "a whole number";
    case ARG_JSON: return "JSON text";
    case ARG_DURATION: return "seconds, or such as 90s, 15m, 2h";
    case ARG_TIME: return "such as 2026-05-01T10:00, or ms since 1970";
    case ARG_MONEY: return "in minor units, such as cents";
    case ARG_EVENT: return "its id, as `events` lists it";
    case ARG_SEAT: return "such as A1, A1..A8, FLOOR*3";
    case ARG_ORDER: return "its id, as `hold` or `book` gave it";
    case ARG_CHART: return "its id, as add-chart was given it";
    case ARG_CUSTOMER: return "for whom: an id of your own choice";
    case ARG_CATEGORY: return "of seats, as `event` lists them";
    case ARG_NODE: return "host:port, as `nodes` shows it";
    default: return NULL;
    }
}

int arg_type_parse(struct span name) { return name_index(type_names, name); }
const char *access_name(int level)
{
    return level >= 0 && level <= ACCESS_ADMIN ? level_names[level] : "?";
}
int access_parse(struct span name) { return name_index(level_names, name); }

bool command_option_reserved(struct span name)
{
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (text_ieq(name, span_of(reserved[i]))) {
            return true;
        }
    }
    return false;
}

/* ---- Definitions --------------------------------------------------------- */

static void free_list(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++) {
        mem_free(*p);
    }
    mem_free(list);
}

void command_def_free(struct command_def *def)
{
    if (def == NULL) {
        return;
    }
    if (def->refs > 0) {
        def->refs--;
        return;
    }
    for (size_t i = 0; i < def->args_count; i++) {
        struct arg_def *a = &def->args[i];
        mem_free(a->name);
        mem_free(a->help);
        mem_free(a->dflt);
        mem_free(a->meta);
        free_list(a->choices);
    }
    mem_free(def->args);
    mem_free(def->name);
    mem_free(def->group);
    mem_free(def->summary);
    mem_free(def->example);
    free_list(def->aliases);
    mem_free(def);
}

/* A command's or argument's name is typed by people and becomes a Lua name. */
static bool name_ok(const char *name)
{
    size_t n = name == NULL ? 0 : strlen(name);
    if (n == 0 || n > 40 || !islower((unsigned char)name[0])) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!islower(c) && !isdigit(c) && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

static int check_default(const struct arg_def *a, struct error *e)
{
    if (a->dflt == NULL) {
        return 0;
    }
    struct call_value v = { .def = a, .text = span_of(a->dflt) };
    int rc = arg_check(a, &v, e);
    if (rc != 0) {
        error_prefix(e, "the default of '%s'", a->name);
    }
    return rc;
}

static int check_args(const struct command_def *def, struct error *e)
{
    bool options = false;
    const struct arg_def *last = NULL;
    for (size_t i = 0; i < def->args_count; i++) {
        const struct arg_def *a = &def->args[i];
        if (!name_ok(a->name)) {
            return error_set(e, ERR_BADARG, "wrong argument name '%s'", a->name ? a->name : "");
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(def->args[j].name, a->name) == 0) {
                return error_set(e, ERR_BADARG, "two arguments are called '%s'", a->name);
            }
        }
        /* A command of a node has no effects to leave out: it may mean something of its own. */
        bool own_dry_run = def->kind == COMMAND_NODE && strcmp(a->name, "dry-run") == 0;
        if (a->option && !own_dry_run && command_option_reserved(span_of(a->name))) {
            return error_set(e, ERR_BADARG, "--%s is an option of every command", a->name);
        }
        if (a->type == ARG_ONE_OF && (a->choices == NULL || a->choices[0] == NULL)) {
            return error_set(e, ERR_BADARG, "'%s' has no choices", a->name);
        }
        if (!a->option) {
            bool optional = a->optional || a->dflt != NULL;
            if (options || (last != NULL && last->many)) {
                return error_set(e, ERR_BADARG, "'%s' stands after the last argument", a->name);
            }
            if (last != NULL && (last->optional || last->dflt != NULL) && !optional) {
                return error_set(e, ERR_BADARG, "'%s' is required after an optional argument",
                                 a->name);
            }
            last = a;
        }
        options = options || a->option;
        int rc = check_default(a, e);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int command_def_check(const struct command_def *def, struct error *e)
{
    int rc = 0;
    if (!name_ok(def->name)) {
        return error_set(e, ERR_BADARG, "'%s' cannot be a command's name",
                         def->name ? def->name : "");
    }
    for (char **a = def->aliases; a != NULL && *a != NULL; a++) {
        if (!name_ok(*a)) {
            rc = error_set(e, ERR_BADARG, "'%s' cannot be an alias", *a);
        }
    }
    if (rc == 0) {
        rc = check_args(def, e);
    }
    if (rc != 0) {
        error_prefix(e, "command '%s'", def->name);
    }
    return rc;
}

/* ---- Usage and JSON ------------------------------------------------------ */

static void put_upper(struct buf *out, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf_put_u8(out, (uint8_t)toupper((unsigned char)name[i]));
    }
}

/* The word for one value: given, else D for a duration and the like, else the name. */
static void put_meta(struct buf *out, const struct arg_def *a)
{
    if (a->meta != NULL) {
        buf_put_str(out, a->meta);
    } else if (a->type == ARG_ONE_OF) {
        for (char **c = a->choices; *c != NULL; c++) {
            buf_put_str(out, c == a->choices ? "" : "|");
            buf_put_str(out, *c);
        }
    } else if (a->option && a->type == ARG_DURATION) {
        buf_put_str(out, "D");
    } else if (a->option && a->type == ARG_JSON) {
        buf_put_str(out, "J");
    } else if (a->option && a->type == ARG_INT) {
        buf_put_str(out, "N");
    } else {
        size_t len = strlen(a->name);
        put_upper(out, a->name, a->many && len > 1 && a->name[len - 1] == 's' ? len - 1 : len);
    }
}

void command_usage(const struct command_def *def, struct buf *out)
{
    buf_put_str(out, def->name);
    for (size_t i = 0; i < def->args_count; i++) {
        const struct arg_def *a = &def->args[i];
        bool optional = a->option || a->optional || a->dflt != NULL;
        buf_put_str(out, optional ? " [" : " ");
        if (a->option) {
            buf_put_str(out, "--");
            buf_put_str(out, a->name);
            buf_put_str(out, a->type == ARG_BOOL ? "" : " ");
        }
        if (!a->option || a->type != ARG_BOOL) {
            put_meta(out, a);
        }
        if (optional && a->many && !a->option) {
            buf_put_str(out, "...]");
        } else {
            buf_put_str(out, optional ? "]" : "");
            buf_put_str(out, a->many ? "..." : "");
        }
    }
}

static void put_list(struct buf *out, const char *key, char **list)
{
    json_put_key(out, key);
    buf_put_u8(out, '[');
    for (char **p = list; p != NULL && *p != NULL; p++) {
        json_put_comma(out);
        json_put_string(out, span_of(*p));
    }
    buf_put_u8(out, ']');
}

static void put_arg(struct buf *out, const struct arg_def *a)
{
    json_put_comma(out);
    buf_put_u8(out, '{');
    json_field_string(out, "name", span_of(a->name));
    json_field_string(out, "type", span_of(arg_type_name(a->type)));
    json_field_bool(out, "option", a->option);
    json_field_bool(out, "required", !a->option && !a->optional && a->dflt == NULL);
    json_field_bool(out, "many", a->many);
    struct buf word = BUF_INIT;
    put_meta(&word, a);
    json_field_string(out, "value", span_make((const char *)word.data, word.len));
    buf_free(&word);
    if (a->choices != NULL) {
        put_list(out, "choices", a->choices);
    }
    if (a->dflt != NULL) {
        json_field_string(out, "default", span_of(a->dflt));
    }
    if (a->completes) {
        json_field_bool(out, "complete", true);
    }
    const char *help = a->help != NULL ? a->help : arg_type_help(a->type);
    if (help != NULL) {
        json_field_string(out, "help", span_of(help));
    }
    buf_put_u8(out, '}');
}

void command_json(const struct command_def *def, struct buf *out)
{
    struct buf usage = BUF_INIT;
    command_usage(def, &usage);
    buf_put_u8(out, '{');
    json_field_string(out, "name", span_of(def->name));
    put_list(out, "aliases", def->aliases);
    json_field_string(out, "kind", span_of(def->kind == COMMAND_NODE ? "node" : "transaction"));
    json_field_string(out, "group", span_of(def->group));
    json_field_string(out, "access", span_of(access_name(def->access)));
    if (def->kind == COMMAND_TRANSACTION && def->read != READ_NONE) {
        json_field_string(out, "read", span_of(read_names[def->read]));
    }
    json_field_string(out, "summary", span_of(def->summary ? def->summary : ""));
    json_field_string(out, "usage", span_make((const char *)usage.data, usage.len));
    json_field_string(out, "example", span_of(def->example ? def->example : ""));
    json_put_key(out, "args");
    buf_put_u8(out, '[');
    for (size_t i = 0; i < def->args_count; i++) {
        put_arg(out, &def->args[i]);
    }
    buf_put_str(out, "]}");
    buf_free(&usage);
}
