/* The registry of commands: one look-up per request, lists for help.
 *
 * Two arrays: definitions sorted by name, and a small open-addressing table from every
 * lower-cased name and alias to its definition. Definitions change when a node starts
 * and when a policy is deployed, so the table is simply rebuilt then.
 *
 * Invariants:
 *   1. every name and alias leads to exactly one definition.
 *   2. the table is at most half full, so a look-up ends at an empty slot.
 *   3. a definition lives as long as the registry or one call holds it. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "policy/command.h"

struct slot {
    struct span name;
    const struct command_def *def; /* NULL: empty */
};

struct registry {
    struct command_def **defs;
    size_t count, cap;
    struct slot *slots;
    size_t slots_count; /* a power of two, or 0 */
    uint64_t changes;
};

struct registry *registry_new(void) { return mem_zalloc(sizeof(struct registry)); }

void registry_free(struct registry *r)
{
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; i < r->count; i++) {
        command_def_free(r->defs[i]);
    }
    mem_free(r->defs);
    mem_free(r->slots);
    mem_free(r);
}

/* FNV-1a over lower-cased bytes: names are short. */
static size_t name_hash(struct span name)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        h = (h ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 16777619u;
    }
    return h;
}

const struct command_def *registry_find(const struct registry *r, struct span name)
{
    if (r->slots_count == 0) {
        return NULL;
    }
    size_t mask = r->slots_count - 1;
    for (size_t i = name_hash(name) & mask; r->slots[i].def != NULL; i = (i + 1) & mask) {
        if (text_ieq(r->slots[i].name, name)) {
            return r->slots[i].def;
        }
    }
    return NULL;
}

static void slot_put(struct registry *r, const char *name, const struct command_def *def)
{
    size_t mask = r->slots_count - 1, i = name_hash(span_of(name)) & mask;
    while (r->slots[i].def != NULL) {
        i = (i + 1) & mask;
    }
    r->slots[i] = (struct slot){ span_of(name), def };
}

static size_t names_of(const struct command_def *def)
{
    size_t n = 1;
    for (char **a = def->aliases; a != NULL && *a != NULL; a++) {
        n++;
    }
    return n;
}

/* Memory for `names` names, taken before anything changes. */
static struct slot *slots_new(size_t names, size_t *count)
{
    size_t n = 16;
    while (n < names * 2) {
        n *= 2;
    }
    *count = n;
    return mem_zalloc(n * sizeof(struct slot));
}

static void slots_fill(struct registry *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct command_def *def = r->defs[i];
        slot_put(r, def->name, def);
        for (char **a = def->aliases; a != NULL && *a != NULL; a++) {
            slot_put(r, *a, def);
        }
    }
}

static int check_alias(const struct registry *r, const struct command_def *def, const char *alias,
                       struct error *e)
{
    const struct command_def *found = registry_find(r, span_of(alias));
    bool twice = strcmp(alias, def->name) == 0;
    for (char **a = def->aliases; *a != alias; a++) {
        twice = twice || strcmp(*a, alias) == 0;
    }
    if (twice) {
        return error_set(e, ERR_BADARG, "command '%s' has the name '%s' twice", def->name, alias);
    }
    if (found != NULL && strcmp(found->name, def->name) != 0) {
        return error_set(e, ERR_CONFLICT, "the alias '%s' of '%s' belongs to '%s'", alias,
                         def->name, found->name);
    }
    return 0;
}

static int check_names(const struct registry *r, const struct command_def *def, struct error *e)
{
    const struct command_def *old = registry_find(r, span_of(def->name));
    if (old != NULL && strcmp(old->name, def->name) != 0) {
        return error_set(e, ERR_CONFLICT, "'%s' is an alias of '%s'", def->name, old->name);
    }
    if (old != NULL && old->kind != def->kind) {
        return error_set(e, ERR_CONFLICT, "'%s' is a %s command and stays one", def->name,
                         old->kind == COMMAND_NODE ? "node" : "transaction");
    }
    for (char **a = def->aliases; a != NULL && *a != NULL; a++) {
        int rc = check_alias(r, def, *a, e);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* The place of `name` in the sorted array. */
static size_t place_of(const struct registry *r, const char *name, bool *there)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (strcmp(r->defs[mid]->name, name) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *there = low < r->count && strcmp(r->defs[low]->name, name) == 0;
    return low;
}

static bool grow(struct registry *r)
{
    if (r->count < r->cap) {
        return true;
    }
    size_t cap = r->cap == 0 ? 32 : r->cap * 2;
    struct command_def **defs = mem_realloc(r->defs, cap * sizeof(struct command_def *));
    if (defs == NULL) {
        return false;
    }
    r->defs = defs;
    r->cap = cap;
    return true;
}

int registry_add(struct registry *r, struct command_def *def, struct error *e)
{
    int rc = command_def_check(def, e);
    rc = rc != 0 ? rc : check_names(r, def, e);
    if (rc != 0) {
        return rc;
    }
    size_t names = names_of(def), slots_count;
    for (size_t i = 0; i < r->count; i++) {
        names += names_of(r->defs[i]);
    }
    struct slot *slots = slots_new(names, &slots_count);
    if (slots == NULL || !grow(r)) {
        mem_free(slots);
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    bool there;
    size_t at = place_of(r, def->name, &there);
    if (there) {
        command_def_free(r->defs[at]);
    } else {
        memmove(r->defs + at + 1, r->defs + at, (r->count - at) * sizeof *r->defs);
        r->count++;
    }
    r->defs[at] = def;
    mem_free(r->slots);
    r->slots = slots;
    r->slots_count = slots_count;
    r->changes++;
    slots_fill(r);
    return 0;
}

void registry_remove_kind(struct registry *r, int kind)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (r->defs[i]->kind == kind) {
            command_def_free(r->defs[i]);
        } else {
            r->defs[kept++] = r->defs[i];
        }
    }
    r->count = kept;
    r->changes++;
    if (r->slots != NULL) {
        memset(r->slots, 0, r->slots_count * sizeof *r->slots);
        slots_fill(r);
    }
}

/* A better name is offered, in order of distance; of two equally near ones the first. */
const char *registry_nearest(const struct registry *r, struct span name)
{
    const char *best = NULL;
    unsigned best_distance = 1 + (unsigned)(name.len / 3);
    for (size_t i = 0; i < r->slots_count; i++) {
        if (r->slots[i].def == NULL) {
            continue;
        }
        const char *other = r->slots[i].name.data;
        unsigned d = text_distance(name, r->slots[i].name, best_distance);
        if (d < best_distance ||
            (d == best_distance && (best == NULL || strcmp(other, best) < 0))) {
            best = other;
            best_distance = d;
        }
    }
    return best;
}

uint64_t registry_changes(const struct registry *r) { return r->changes; }
size_t registry_count(const struct registry *r) { return r->count; }
const struct command_def *registry_at(const struct registry *r, size_t i) { return r->defs[i]; }
