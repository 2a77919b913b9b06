/* Command definitions and the argument grammar: one definition feeds console,
 * one-shot, RESP, HTTP, scripts and OpenAPI (design.md 4.3, lua.md 2).
 *
 * Definitions are made in Lua (`command{...}`) by the policy VM (kind
 * "transaction") and the script VM (kind "node") and collected in one registry. */
#ifndef USHER_POLICY_COMMAND_H
#define USHER_POLICY_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum arg_type {
    ARG_STRING,
    ARG_INT,
    ARG_BOOL,
    ARG_JSON,
    ARG_DURATION,
    ARG_TIME,
    ARG_MONEY,
    ARG_EVENT,
    ARG_SEAT,
    ARG_ORDER,
    ARG_CHART,
    ARG_CUSTOMER,
    ARG_CATEGORY,
    ARG_NODE,
    ARG_FILE,
    ARG_ONE_OF,
};
const char *arg_type_name(int type);
const char *arg_type_help(int type);  /* what such a word looks like; NULL: any text */
int arg_type_parse(struct span name); /* -1 when unknown */

enum access_level { ACCESS_PUBLIC, ACCESS_CLIENT, ACCESS_OPERATOR, ACCESS_ADMIN };
const char *access_name(int level);
int access_parse(struct span name); /* -1 when unknown */

enum command_kind { COMMAND_TRANSACTION, COMMAND_NODE };
/* How a transaction command that never writes is read by default (design.md 2.2). */
enum command_read { READ_NONE /* it writes */, READ_LOCAL, READ_LINEARIZABLE };

struct arg_def {
    char *name, *help, *dflt; /* dflt, help may be NULL */
    char *meta;               /* the word in the usage; NULL: made from name and type */
    int type;                 /* enum arg_type */
    char **choices;           /* ARG_ONE_OF: NULL-ended */
    bool many;                /* last positional, or a repeatable option */
    bool pairs;               /* ARG_SEAT, many: FROM TO, a seat may be one's TO, another's FROM */
    bool optional;
    bool completes; /* it has a function `complete` of its own */
    bool option;    /* --name; ARG_BOOL options are flags without a value */
};

struct command_def {
    char *name, *group, *summary, *example;
    char **aliases; /* NULL-ended */
    int kind, access, read;
    struct arg_def *args; /* positionals first, then options */
    size_t args_count;
    unsigned refs; /* further holders (calls in progress); 0 in a new definition */
};
/* Gives up one hold; frees with mem_free everything (strings, arrays and `def` come from
 * mem_*) when it was the last. NULL is allowed. */
void command_def_free(struct command_def *def);
/* 0 when the definition makes sense (registry_add asks); else ERR_BADARG. */
int command_def_check(const struct command_def *def, struct error *e);
/* Options that every command has: no definition may use these names. */
bool command_option_reserved(struct span name);

/* The registry: name or alias -> definition. Later definitions of the same name
 * replace earlier ones of the same kind; a name of the other kind is refused (CONFLICT),
 * and so is an alias that is another command's name. A definition that makes no sense
 * (an argument after the one that repeats, a default of the wrong form) is BADARG. */
struct registry;
struct registry *registry_new(void);
void registry_free(struct registry *r);
int registry_add(struct registry *r, struct command_def *def /* owned on 0 */, struct error *e);
void registry_remove_kind(struct registry *r, int kind);
/* Case-insensitive. */
const struct command_def *registry_find(const struct registry *r, struct span name);
/* Another number after every change of the definitions. */
uint64_t registry_changes(const struct registry *r);
const char *registry_nearest(const struct registry *r, struct span name); /* or NULL */
/* Sorted by name. */
size_t registry_count(const struct registry *r);
const struct command_def *registry_at(const struct registry *r, size_t i);
/* `--code X` and the like: whether the word after this one is a secret; and of `--code=X` how many
 * bytes may be shown, 0: all of it (secret.c). */
bool command_hides_next(struct span word);
size_t command_hides_after(struct span word);
/* A word in front of any `--`: whether it is `--request` or `--request=ID`. */
bool command_names_request(struct span word);
/* "hold EVENT CUSTOMER SEAT... [--ttl D] [--code C]... [--metadata J]" */
void command_usage(const struct command_def *def, struct buf *out);
/* Definition as a JSON object (help, completion, docs, OpenAPI). */
void command_json(const struct command_def *def, struct buf *out);

/* One request in normal form. Positional and option values as text, checked for
 * form (int, duration, id ...) but not yet resolved against the store. All memory
 * is in `arena`; spans of the caller's argv are copied. */
struct call_value {
    const struct arg_def *def;
    struct span text; /* a flag given: "true"; a choice in its defined spelling */
    int64_t number;   /* int, money; duration and time in ms; bool 0 or 1 */
    bool plain;       /* seat: nothing but a label, no need for seat_word_parse() */
    bool given;       /* false: the default */
};
struct call {
    const struct command_def *def;
    struct call_value *values; /* in definition order; many: repeated */
    size_t values_count;
    struct span request; /* --request, may be empty */
    bool dry_run;
    uint64_t min_index;   /* --min-index of reads */
    int read;             /* enum command_read, after --local/--linearizable */
    bool any_age;         /* --local was given: not even a session's own writes are waited for */
    uint64_t args_digest; /* of command and values, for request ids */
    struct buf arena;
    struct buf argv; /* encoded: varint count, then bytes each; the command by its own name
                        first, without --request. values point into it. */
};
/* argv[0] is the command. ERR_NOTFOUND (unknown command, with the nearest) or
 * ERR_BADARG that says which argument, what is wrong, and the usage; TOOBIG over
 * REQUEST_ARGS_MAX or REQUEST_BYTES_MAX. `out` is zeroed, or was used before: then what it
 * held is given up and its memory is used again (the service parses without allocating).
 * On error it is empty. Its definition stays alive while it holds it, whatever happens to
 * the registry; where it matters, compare with registry_find(). */
int call_parse(const struct registry *r, size_t argc, const struct span *argv, struct call *out,
               struct error *e);
void call_free(struct call *c);
/* The first value of an argument or option by name, NULL when absent. */
const struct call_value *call_value(const struct call *c, const char *name);

/* One value checked for its type's form, as call_parse does: fills number, plain and,
 * for choices and bools, text. ERR_BADARG says what is expected, not for which argument. */
int arg_check(const struct arg_def *def, struct call_value *v, struct error *e);

/* A seat as a word (lua.md 1): [EVENT:]LABEL | LABEL..LABEL | AREA*COUNT, then [=TYPE]; or
 * the JSON form {"seat":,"event":,"type":,"count":,"data":}. Spans point into `text`, or
 * into `scratch` when a JSON string has escapes. Only the form is checked. */
struct seat_word {
    struct span event; /* empty: the command's own */
    struct span label;
    struct span to;   /* end of a range, else empty */
    uint32_t count;   /* 0: no count was given */
    struct span type; /* ticket type, may be empty */
    struct span data; /* JSON text, may be empty */
};
int seat_word_parse(struct span text, struct buf *scratch, struct seat_word *out, struct error *e);

#endif
