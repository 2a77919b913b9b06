/* Inside of the policy VM: what its files share. Not for other modules.
 *
 * Everything here that takes a lua_State may raise unless it says otherwise, and runs
 * only inside the coroutine of policy_evaluate() (or the pcall of a load). No C resource
 * is held across such a call: scratch memory is userdata on the Lua stack. */
#ifndef USHER_POLICY_VM_H
#define USHER_POLICY_VM_H

#include "base/limits.h"
#include "policy/policy.h"
#include "policy/random.h"
#include "policy/sandbox.h"

enum object_kind {
    OBJECT_TX,
    OBJECT_EVENT,
    OBJECT_ROW,
    OBJECT_SEAT,
    OBJECT_AREA,
    OBJECT_PLACE,
    OBJECT_ORDER,
    OBJECT_JSON, /* ready text, user value 1 */
    OBJECT_KINDS
};

/* A read-only view of something in the store: names it, holds nothing of it. Dead once
 * the call it was made in has ended (`epoch`). Every full userdata a script can get
 * hold of is one of these. */
struct object {
    uint64_t epoch;
    uint8_t kind, id_len;
    uint32_t event;  /* event number */
    uint32_t number; /* seat, row, or PLACE_AREA | area */
    uint32_t count;  /* place */
    int64_t price;   /* place */
    char id[];       /* order */
};

enum verb { VERB_TAKE, VERB_CONFIRM, VERB_RESEAT, VERB_EXTEND, VERB_WAIT, VERBS };
extern const char *const rules_verbs[VERBS];

/* Hooks of a ruleset. */
enum hook { HOOK_TAKE, HOOK_CONFIRM, HOOK_RESEAT, HOOK_RELEASE, HOOK_CANCEL, HOOK_EXPIRE, HOOKS };

struct ruleset {
    char *name;              /* "" for the policy's own */
    int ref;                 /* its Lua table */
    int hooks[HOOKS], price; /* functions, LUA_NOREF: none */
    bool judges[VERBS];      /* has rules for it */
    bool seat_rules;         /* one of them has a `seat` function */
    bool overbook;           /* one of them lets areas exceed their capacity, and says how far */
    uint64_t hold_ttl_ms, hold_max_ms;
};

/* Events at which a transaction has given seats back (waiting.c). Those beyond the last are
 * served when the next seat of theirs comes free. */
#define FREED_EVENTS_MAX 64
struct freed {
    uint32_t event[FREED_EVENTS_MAX];
    uint32_t count;
};

/* One loaded policy. */
struct active {
    uint32_t version;
    char *name;
    bool hooks;       /* any ruleset has one */
    int commands;     /* reference: name -> command table, the bundle's */
    bool any_command; /* in there */
    struct ruleset *sets;
    size_t sets_count; /* at least 1 */
};

struct policy {
    struct sandbox sb; /* first: vm_of() relies on it */
    struct registry *registry;
    char *lua_dir;
    uint64_t budget;
    struct random random;
    int co_ref;
    lua_State *co;
    int meta[OBJECT_KINDS]; /* references */
    int objects;            /* cache of this call's objects */
    size_t objects_count;
    uint64_t objects_epoch;
    int tx, modules, builtin_commands, complete, judge, filter, alternative, serve, user_ref;
    struct active active;
    struct active tried;     /* vm_try_bundle() */
    struct loading *loading; /* policy.c */
    bool found_again;
    bool no_memory;      /* the cap was hit since policy_exhausted() was asked */
    size_t id_len;       /* of ids[0] during expiry */
    struct error untold; /* policy_failed() */

    /* The call being evaluated. */
    uint64_t epoch;      /* grows with every call */
    uint64_t user_epoch; /* of the table at user_ref */
    bool in_call, read_only, dry_run, wrote;
    int judging, hook_depth;
    char trace; /* its address: registry key of what rules said in a dry run */
    char codes; /* likewise: of the codes that tx:with_codes has set */
    bool with_codes;
    int64_t waiting_ms;           /* while with_codes: since when their owner waits, -1: does not */
    struct freed freed;           /* where this transaction has given seats back */
    char round[KV_KEY_BYTES_MAX]; /* key of the round that went on last (waiting.c) */
    size_t round_len;
    struct store *store;
    const struct call *call; /* NULL during policy_expire */
    const struct policy_user *user;
    const struct result *again; /* policy_answer_again: what is rendered */
    uint64_t now_ms, index;
    struct policy_answer *out;
    struct buf scratch; /* unescaped words; text of answers */
    char ids[2][ID_BYTES_MAX];
};

static inline struct policy *vm_of(lua_State *L) { return (struct policy *)sandbox_of(L); }

/* What the answer names as its index: an entry that is there, or that the call itself writes. */
static inline uint64_t vm_index_shown(const struct policy *p)
{
    return store_index_shown(p->store, p->dry_run);
}

/* Runs a C function in the VM's coroutine under a budget (policy.c). 0, or an error that says
 * what went wrong; what the function itself has to say goes other ways. Never raises. */
int vm_run(struct policy *p, lua_CFunction f, uint64_t budget, struct error *e);
void vm_push_request(lua_State *L); /* [-0, +1] the req table (arguments.c) */

/* ---- Refusals (vm.c) -------------------------------------------------------- */

/* Raise a table { code=, message=, hint= [, seat=] }; never return. */
int vm_refuse(lua_State *L, const struct error *e) __attribute__((cold));
int vm_refusef(lua_State *L, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
int vm_refuse_seat(lua_State *L, const struct error *e, struct span seat) __attribute__((cold));
/* Unprotected code calls it in a pcall: fills e and the answer's fields from the error
 * value on top. [-1, +0] */
int vm_error_protected(lua_State *L);
/* Carries out an effect, or refuses. */
void vm_do(lua_State *L, const struct effect *f);
/* The store of the running call; raises outside of one. */
struct store *vm_store(lua_State *L);

/* ---- Values (vm.c) ------------------------------------------------------------ */

void vm_push_span(lua_State *L, struct span s);
struct span vm_to_span(lua_State *L, int index); /* a string on the stack, not converted */
/* Raises a mistake of a script: as luaL_error(), but the place is that of the innermost Lua
 * function, whatever C functions are in between. */
int vm_misuse(lua_State *L, const char *fmt, ...) __attribute__((cold, format(printf, 2, 3)));
/* Where the function at `index` is defined, "policy.lua:5". */
void vm_where_defined(lua_State *L, int index, char where[SANDBOX_WHERE_BYTES]);
struct span vm_check_span(lua_State *L, int index, const char *what);
/* The value at `index` must be of the type; `what` names it in the error. */
void vm_check_type(lua_State *L, int index, int type, const char *what);
lua_Integer vm_check_integer(lua_State *L, int index, const char *what);
/* integer ms or duration text */
uint64_t vm_check_duration(lua_State *L, int index, const char *what);
/* Valid JSON text of at most JSON_TEXT_BYTES_MAX. */
struct span vm_check_json(lua_State *L, int index, const char *what);
/* Walks a table argument with string keys: for (vm_fields_begin; vm_fields_next(...);).
 * The value is on top during a step. Returns the index into `names` (NULL-ended); an
 * unknown key raises and names the nearest. [-0, +2 during a step] */
int vm_fields_next(lua_State *L, int table, const char *const *names, const char *what);

/* ---- Objects (object.c, object_*.c) ------------------------------------------- */

void objects_open(lua_State *L);
void objects_begin(struct policy *p); /* a new call: everything older is dead */
struct object *object_check(lua_State *L, int index, enum object_kind kind);
struct object *object_test(lua_State *L, int index, enum object_kind kind); /* or NULL */
/* Raises when the call that the object was made in has ended (O1 of object.c). */
void object_check_alive(lua_State *L, const struct object *o);
const char *object_kind_name(int kind);

void object_push_event(lua_State *L, const struct event *ev);
void object_push_row(lua_State *L, uint32_t event, uint32_t row);
void object_push_seat(lua_State *L, uint32_t event, uint32_t seat);
void object_push_area(lua_State *L, uint32_t event, uint32_t area);
/* type and data (JSON text) may be empty. */
void object_push_place(lua_State *L, const struct place *p, struct span type, struct span data);
void object_push_order(lua_State *L, struct span id);
void object_push_json(lua_State *L, const struct buf *text);

const struct event *object_event(lua_State *L, int index); /* MAY raise NOTFOUND */
const struct event *vm_event(lua_State *L, uint32_t number);
const struct order *object_order(lua_State *L, int index);
/* Seat, area or place: its event and number (PLACE_AREA). */
bool object_place(lua_State *L, int index, uint32_t *event, uint32_t *number);
/* A seat, or the seat of a place. */
bool object_seat(lua_State *L, int index, uint32_t *event, uint32_t *seat);
/* Event argument: an event object or its id. */
const struct event *vm_check_event(lua_State *L, int index);

/* Names of fields: one list for all kinds, so that asking a seat for an area's field gives
 * nil while a misspelt one raises. */
/* The formatter would push each line further to the right. */
/* clang-format off */
#define FIELD_MAP(X) \
    X(id) X(status) X(attributes) X(attributes_text) X(ruleset) X(currency) X(zone) X(counts) \
    X(chart) X(index) X(seats_total) X(name) X(section) X(event) X(label) X(row) X(position) \
    X(category) X(x) X(y) X(accessible) X(companion) X(restricted) X(order) X(reason) X(alias) \
    X(table) X(seat) X(area) X(count) X(type) X(data) X(price) X(capacity) X(held) X(booked) \
    X(free) X(customer) X(expires_at) X(first_held_at) X(changed_at) X(seats) X(lines) \
    X(metadata) X(policy) X(unjudged) X(now) X(user) X(dry_run) X(overbook)
/* clang-format on */
enum field {
    FIELD_NONE,
#define X(n) FIELD_##n,
    FIELD_MAP(X)
#undef X
};
/* Fields by kind: push one value, or push nothing and return false (nil). */
bool event_field(lua_State *L, const struct object *o, int field);
bool row_field(lua_State *L, const struct object *o, int field);
bool seat_field(lua_State *L, const struct object *o, int field);
bool area_field(lua_State *L, const struct object *o, int field);
bool place_field(lua_State *L, int index, const struct object *o, int field);
bool order_field(lua_State *L, const struct object *o, int field);
bool tx_field(lua_State *L, int field);
int row_index(lua_State *L); /* row[i] */
/* Methods by kind; NULL-ended. */
extern const luaL_Reg event_methods[], seat_methods[], tx_read_methods[], tx_write_methods[],
    tx_order_methods[], tx_admin_methods[];
int tx_seats_view(lua_State *L); /* seats_view.c */
int tx_chart_put(lua_State *L);  /* tx_chart.c */
int tx_swap(lua_State *L);       /* tx_swap.c */
int tx_near(lua_State *L);       /* near.c */
int tx_single(lua_State *L);     /* single.c */
int tx_within(lua_State *L);
int tx_with_codes(lua_State *L); /* rules.c */
int tx_codes(lua_State *L);
int tx_attempt(lua_State *L); /* waiting.c */
int tx_used(lua_State *L);
int event_table(lua_State *L); /* object_group.c */
int event_sections(lua_State *L);

/* ---- Places (places.c) ----------------------------------------------------------- */

struct places {
    uint32_t count;
    bool typed;
    struct place *place;
    struct span *type; /* points into strings that live as long as what was pushed with it */
    struct span *data; /* likewise: JSON text that came with a place; NULL: with none */
};
static inline struct span place_data(const struct places *p, uint32_t i)
{
    return p->data != NULL ? p->data[i] : span_make(NULL, 0);
}
/* Reads a seats argument (list or one) at `index`; `ev` is where labels are looked up
 * (may be NULL). Pushes the userdata that owns the memory. [-0, +1] */
struct places *places_read(lua_State *L, int index, const struct event *ev);
/* The same for a caller that is done with them when it returns: few places lie in its own `room`,
 * and the measured path makes no object for them. [-0, +1] */
#define PLACES_FEW 8
struct places_room {
    struct places places;
    struct place place[PLACES_FEW];
    struct span type[PLACES_FEW];
};
struct places *places_read_into(lua_State *L, int index, const struct event *ev,
                                struct places_room *room);
struct places *places_new(lua_State *L, uint32_t count); /* [-0, +1] */
/* Pushes a list of place objects. [-0, +1] */
void places_push(lua_State *L, const struct places *p);
void places_push_order(lua_State *L, const struct order *o);
struct places *places_of_order(lua_State *L, const struct order *o); /* [-0, +1] */
/* What `all` has more of than `other` (difference.c); its types live as long as those of `all`.
 * [-0, +1] */
struct places *places_minus(lua_State *L, const struct places *all, const struct places *other);
/* A list of place objects that grows, on the stack. */
struct place_list {
    int index; /* of its table */
    uint32_t n;
    bool rising;   /* each place stands behind the one before it: none is there twice */
    uint64_t last; /* the last one's event and number */
    bool script;   /* the words are a script's own: one without an event is its mistake */
};
/* Resolves a word against an event or an order and appends its places. */
void places_resolve(lua_State *L, struct place_list *list, struct span word, bool plain,
                    const struct event *ev, const struct order *o);
struct span place_label(const struct event *ev, uint32_t number);
/* Raises NOTFOUND, with the categories that there are. */
int vm_refuse_category(lua_State *L, const struct event *ev, struct span name)
    __attribute__((cold));
uint32_t place_category(const struct event *ev, uint32_t number);

/* Before a finish or a split of some places (parts.c): puts them first among the entries of the
 * order, where ticket types want that; returns what they cost. Refuses a type that is not there. */
int64_t parts_arrange(lua_State *L, struct span id, const struct places *want);

/* ---- Rules (rules.c) --------------------------------------------------------------- */

/* What is judged, for rules_push_ask(). */
struct ask {
    enum verb verb;
    const char *after; /* what its seats will be: "held", "booked"; NULL: as the order is */
    struct span customer, metadata;
    int order;                   /* stack index of the order, 0: none yet */
    const struct places *seats;  /* all places after the request */
    const struct places *gains;  /* those that are new */
    const struct places *leaves; /* those given up, NULL: none */
    uint64_t until_ms;           /* a take that holds: until when */
    uint32_t count;              /* best, before there are seats: the party's size */
    const struct event *waits;   /* VERB_WAIT: at this event, for `size` places yet to come */
    lua_Integer size;
    bool exchange; /* a swap, judged after it was done: all seats stay taken */
};
const struct ruleset *vm_ruleset(lua_State *L, const struct event *ev);
/* Whether the policy has a ruleset of that name; "" is its own rules. */
bool rules_has_set(const struct active *a, struct span name);
/* Whether any event of the places has rules for the verb, or a price function. */
void rules_wanted(lua_State *L, const struct places *seats, enum verb verb, bool *judge,
                  bool *price);
/* There are places of areas, and rules say for all of them how far to exceed capacity. */
bool rules_overbook(lua_State *L, const struct places *seats);
/* Pushes the ask table. [-0, +1] */
void rules_push_ask(lua_State *L, const struct ask *ask);
/* Judges the ask at `ask`. [-0, +1]: the denial, or nil
 *
 * traced  it is what was asked for, not a candidate: a dry run shows what each rule says to it. */
void rules_try(lua_State *L, int ask, bool traced);
/* The same, but raises the denial. */
void rules_judge(lua_State *L, int ask);
/* Sets the prices of the places; returns the total. */
int64_t rules_price(lua_State *L, int ask, struct places *seats);
/* The same for a candidate. [-0, +1]: the denial that a price function raised, or nil; what else it
 * raises goes on. */
void rules_try_price(lua_State *L, int ask, struct places *seats);
/* Runs the body of a tx method; if it raises, its effects are undone. */
int rules_atomic(lua_State *L, lua_CFunction f);
/* Runs a hook of the order's rulesets, if any; `order` is a stack index. */
/* Calls the function under `args` arguments with effects forbidden. [-(args + 1), +results] */
void rules_call(lua_State *L, int args, int results);
/* Members "dry_run" and "rules" of an answer or refusal. */
void rules_put_trace(lua_State *L, struct buf *out);
/* The same on one line, "dry run: one ok, two no"; returns its length, 0 when none was asked.
 * [-0, +0] MAY_RAISE */
size_t rules_trace_text(lua_State *L, char *out, size_t cap);
void rules_hook(lua_State *L, enum hook hook, int order);

/* ---- Waiting lists (waiting.c) ---------------------------------------------------------- */

/* Notes the events whose seats the effect will give back. Does not raise. */
void waiting_note(struct policy *p, const struct effect *f);
void waiting_note_order(struct policy *p, const struct order *o);
/* Gives what was freed to those who wait, in a run of its own: when it fails, its effects are
 * undone and the transaction stays as it was. */
void waiting_serve(struct policy *p);
/* Finds a round that one transaction did not end, each event's in its turn. */
bool waiting_find_round(struct policy *p, const struct store *s);
/* Goes on with what was found; ends it when that is not possible. */
void waiting_go_on(struct policy *p);

/* ---- Lines of an order (lines.c) ------------------------------------------------------- */

#define ORDER_LINES_MAX 64
struct order_line {
    uint32_t event, category, type, count;
    int64_t each, total;
};
/* Places summed up by event, category, type and price each, in order of appearance; those
 * beyond the last line go into it (each = 0). Returns how many. */
uint32_t order_lines(const struct store *s, const struct order *o,
                     struct order_line out[ORDER_LINES_MAX]);
struct span order_currency(const struct store *s, const struct order *o);

/* ---- Answers (render.c) ------------------------------------------------------------- */

void render_order(struct buf *out, struct store *s, const struct order *o, uint64_t index);
/* index 0: none is shown */
void render_event(struct buf *out, struct store *s, const struct event *ev, uint64_t index);
bool render_object(lua_State *L, int index, struct buf *out); /* lua_json_other_cb */
/* The answer at the top of the stack into out->json, and the result's ids. */
void render_answer(lua_State *L, int index);

/* "policy.lua:12", where the memory of a bundle that is loaded ran out, as far as is known. */
const char *vm_place_of_memory(lua_State *L);

/* ---- Loading (load.c) ------------------------------------------------------------------ */

void load_globals(lua_State *L); /* require, command */
/* The Lua table of a transaction command, the bundle's or a built-in one, is left on top; NOTFOUND
 * when there is none. Never to be given to a script, which could change it. */
void vm_push_command(lua_State *L, const char *name);

int load_builtins(lua_State *L); /* lua_CFunction: runtime, constructors, commands */
/* Compiles, runs and reads a bundle (data NULL: the default policy). `out` must be empty; what
 * it holds when this raises is freed by the caller. */
void load_bundle(lua_State *L, struct span bundle, struct active *out);
void load_free(struct policy *p, struct active *a); /* does not raise */
/* Definitions of the commands in a table (a reference). */
#define LOAD_DEFS_MAX 256
struct load_defs {
    struct command_def *def[LOAD_DEFS_MAX];
    size_t count;
};
void load_defs(lua_State *L, int commands, struct load_defs *out);
/* Loads a bundle only to see whether it is right (policy.c); raises what is wrong. [-0, +2]: the id
 * of an event whose ruleset it lacks, or nil; the policy's name */
int vm_try_bundle(lua_State *L, struct span bundle);

/* ---- The search (best.c) ---------------------------------------------------------------- */
int tx_best(lua_State *L);

#endif
