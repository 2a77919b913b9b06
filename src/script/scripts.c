/* A node's scripts: what there is one of (script_impl.h), and the shipped node commands. */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/embed.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "script/script_impl.h"

struct source {
    struct span text;
    const char *name;
};

/* Protected: runs one shipped file, which returns a command or a list of them. */
static int load_shipped(lua_State *L)
{
    const struct source *source = lua_touserdata(L, 1);
    struct error e;
    if (sandbox_compile(L, source->text, source->name, &e) != 0) {
        return luaL_error(L, "%s", e.message);
    }
    (void)script_push_node(L);
    lua_call(L, 1, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    if (lua_getfield(L, -1, "name") != LUA_TNIL) {
        lua_pop(L, 1);
        command_keep(L, source->name);
        return 0;
    }
    lua_pop(L, 1);
    int list = lua_gettop(L);
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
        command_keep(L, source->name);
    }
    return 0;
}

static int load_commands(struct scripts *s, struct error *e)
{
    for (const struct embed_file *f = embed_files; f->name != NULL; f++) {
        struct source source = { span_make(f->text, f->len), f->name };
        if (strncmp(f->name, "commands/node/", strlen("commands/node/")) == 0) {
            int code = vm_protected(s->shipped, load_shipped, &source, e);
            if (code != 0) {
                return code;
            }
        }
    }
    return 0;
}

static void on_tick(void *arg)
{
    struct scripts *s = arg;
    s->env->ops->timer_start(s->tick, SCRIPTS_TICK_MS);
    hooks_tick(s);
}

static int set_up(struct scripts *s, const struct scripts_options *o, struct error *e)
{
    s->env = o->env;
    s->registry = o->registry;
    s->rules = o->policy;
    s->started_ms = o->env->ops->mono_ms(o->env);
    s->memory_max = o->memory_max != 0 ? o->memory_max : SCRIPT_MEMORY_BYTES_MAX;
    s->instructions_max = o->instructions_max != 0 ? o->instructions_max : SCRIPT_INSTRUCTIONS_MAX;
    s->profile = mem_strndup(o->profile, strlen(o->profile));
    s->version = mem_strndup(o->version, strlen(o->version));
    s->config_json = mem_strndup(o->config_json.data, o->config_json.len);
    s->dir = mem_strndup(o->dir != NULL ? o->dir : ".", strlen(o->dir != NULL ? o->dir : "."));
    s->user = (struct policy_user){ .name = span_of("script"), .access = ACCESS_ADMIN };
    s->turn = script_turn_timer(s);
    s->tick = s->env->ops->timer_new(s->env, on_tick, s);
    s->out = file_queue_new(s, s->dir, o->file_bytes_max);
    if (s->profile == NULL || s->version == NULL || s->config_json == NULL || s->dir == NULL ||
        s->turn == NULL || s->tick == NULL || s->out == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    return 0;
}

int scripts_new(const struct scripts_options *o, struct scripts **out, struct error *e)
{
    struct scripts *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    int code = set_up(s, o, e);
    if (code == 0) {
        s->shipped = vm_new(s, VM_SHIPPED, "usher", e);
        code = s->shipped != NULL ? load_commands(s, e) : e->code;
    }
    code = code != 0 ? code : commands_publish(s, e);
    code = code != 0 ? code : files_load(s, o->files, e);
    if (code != 0) {
        scripts_free(s);
        return code;
    }
    *out = s;
    return 0;
}

void scripts_free(struct scripts *s)
{
    while (s->tasks != NULL) {
        task_drop(s->tasks);
    }
    reload_free(s);
    vm_sweep(s, true);
    if (s->turn != NULL) {
        s->env->ops->timer_free(s->turn);
    }
    if (s->tick != NULL) {
        s->env->ops->timer_free(s->tick);
    }
    if (s->out != NULL) {
        file_queue_free(s->out);
    }
    files_free(s);
    mem_free(s->profile);
    mem_free(s->version);
    mem_free(s->config_json);
    mem_free(s->dir);
    mem_free(s);
}

void scripts_attach(struct scripts *s, const struct request_sink *sink, struct cluster *cluster)
{
    s->sink = *sink;
    s->cluster = cluster;
}
