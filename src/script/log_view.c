/* node.entry(index): one committed entry of the log, decoded for people.
 *
 *   { index, term, kind = "command" | "change" | "barrier", bytes, time,
 *     transactions = { { command, words = {...}, user, request, code, effects = {"take 7H2K"} } } }
 *
 * Values of --code are replaced by ***. Words that are long or many end in `...`. What does not
 * decode is shown as such: an entry of another program version is no reason to fail. */
#include <string.h>

#include "base/text.h"
#include "policy/command.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"
#include "store/effect.h"

#define WORDS_SHOWN      64
#define WORD_BYTES_SHOWN 200
#define EFFECTS_SHOWN    64

static const char *effect_name(int kind)
{
    switch (kind) {
#define X(name, tag)                                                                               \
    case name: return #name;
        EFFECT_MAP(X)
#undef X
    default: return "EFFECT_UNKNOWN";
    }
}

static void set_span(lua_State *L, const char *key, struct span s)
{
    lua_pushlstring(L, s.data != NULL ? s.data : "", s.len);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

/* [-0, +1] A word as far as it is shown. MAY_RAISE */
static void push_word(lua_State *L, struct span word)
{
    struct span shown = text_beginning(word, WORD_BYTES_SHOWN);
    lua_pushlstring(L, shown.data, shown.len);
    if (shown.len < word.len) {
        lua_pushliteral(L, "...");
        lua_concat(L, 2);
    }
}

/* Sets `words`: the arguments, without the command itself. */
static void set_words(lua_State *L, struct span args)
{
    struct reader r;
    bool secret = false;
    reader_init(&r, args.data, args.len);
    uint64_t n = reader_varint(&r);
    lua_newtable(L);
    for (uint64_t i = 0; i < n && !r.failed && i <= WORDS_SHOWN; i++) {
        struct span word = reader_bytes(&r);
        if (i == 0 || r.failed) {
            continue;
        }
        size_t keep = command_hides_after(word);
        if (secret) {
            lua_pushliteral(L, "***");
        } else if (keep > 0) {
            lua_pushlstring(L, word.data, keep);
            lua_pushliteral(L, "***");
            lua_concat(L, 2);
        } else {
            push_word(L, word);
        }
        secret = command_hides_next(word);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    if (n > WORDS_SHOWN + 1) {
        lua_pushliteral(L, "...");
        lua_rawseti(L, -2, WORDS_SHOWN + 1);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "words");
}

/* "take 7H2K": the effect's name in small letters and what it is about. */
static void push_effect(lua_State *L, const struct effect *f)
{
    char text[200];
    const char *name = effect_name((int)f->kind) + strlen("EFFECT_");
    size_t n = 0;
    for (; name[n] != 0 && n < 40; n++) {
        text[n] = (char)(name[n] == '_'                     ? '-'
                         : name[n] >= 'A' && name[n] <= 'Z' ? name[n] + 32
                                                            : name[n]);
    }
    struct span id = text_beginning(f->id, 140);
    (void)snprintf(text + n, sizeof text - n, "%s%.*s%s", id.len > 0 ? " " : "", (int)id.len,
                   id.len > 0 ? id.data : "", id.len < f->id.len ? "..." : "");
    lua_pushstring(L, text);
}

static void set_effects(lua_State *L, struct span effects)
{
    struct buf *scratch = &script_vm(L)->scratch;
    struct reader r;
    struct effect f;
    struct error e;
    lua_Integer shown = 0, all = 0;
    lua_newtable(L);
    reader_init(&r, effects.data, effects.len);
    while (reader_left(&r) > 0 && effect_decode(&r, &f, scratch, &e) == 0) {
        all++;
        if (shown < EFFECTS_SHOWN) {
            push_effect(L, &f);
            lua_rawseti(L, -2, ++shown);
        }
    }
    if (all > shown) {
        lua_pushfstring(L, "... and %I more", (LUAI_UACINT)(all - shown));
        lua_rawseti(L, -2, shown + 1);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "effects");
}

static void push_transaction(lua_State *L, const struct entry_tx *tx)
{
    lua_createtable(L, 0, 6);
    set_span(L, "command", tx->command);
    set_span(L, "user", tx->user);
    set_span(L, "request", tx->request);
    if (tx->code != 0) {
        lua_pushstring(L, error_wire(tx->code));
        lua_setfield(L, -2, "code");
    }
    set_words(L, tx->args);
    set_effects(L, tx->effects);
}

static void set_transactions(lua_State *L, struct span data)
{
    struct reader r;
    struct entry_head head;
    struct entry_tx tx;
    struct error e;
    lua_Integer n = 0;
    if (entry_open(&r, data.data, data.len, &head, &e) != 0) {
        set_span(L, "unreadable", span_of(e.message));
        return;
    }
    set_integer(L, "time", head.time_ms);
    lua_newtable(L);
    for (uint32_t i = 0; i < head.transactions && entry_next(&r, &tx, &e) == 0; i++) {
        push_transaction(L, &tx);
        lua_rawseti(L, -2, ++n);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "transactions");
}

static int node_entry(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    struct cluster_entry entry;
    lua_Integer index = luaL_checkinteger(L, 1);
    if (s->cluster == NULL || index < 1 || !cluster_entry(s->cluster, (uint64_t)index, &entry)) {
        return 0;
    }
    sandbox_charge(L, entry.data.len / 8);
    lua_createtable(L, 0, 6);
    set_integer(L, "index", (uint64_t)index);
    set_integer(L, "term", entry.term);
    set_integer(L, "bytes", entry.data.len);
    lua_pushstring(L, entry.command ? "command" : entry.change ? "change" : "barrier");
    lua_setfield(L, -2, "kind");
    if (entry.command && entry.data.len > 0) {
        set_transactions(L, entry.data);
    }
    return 1;
}

/* node.log_range() -> first and last index that can be looked at */
static int node_log_range(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    struct cluster_status st;
    if (s->cluster == NULL) {
        return 0;
    }
    cluster_status(s->cluster, &st);
    lua_pushinteger(L, (lua_Integer)cluster_first(s->cluster));
    lua_pushinteger(L, (lua_Integer)st.applied);
    return 2;
}

void log_open_lib(lua_State *L)
{
    lua_pushcfunction(L, node_entry);
    lua_setfield(L, -2, "entry");
    lua_pushcfunction(L, node_log_range);
    lua_setfield(L, -2, "log_range");
}
