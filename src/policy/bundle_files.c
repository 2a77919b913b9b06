/* See bundle_files.h. What is found is kept in one sorted list of names, then read.
 *
 * A lone file must not drag along whatever lies beside it (a config.lua with passwords): it
 * takes only the modules that it, or one of them, names in a `require "name"`. */
#include "policy/bundle_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/mem.h"
#include "policy/policy.h"

#define DEPTH_MAX 8 /* folders within folders; links may go in circles */

struct found {
    char *name; /* "seats/block.lua" */
    struct buf text;
};

struct files {
    const char *path; /* as it was given: the folder, or a lone file */
    const char *root; /* the folder all names are below */
    struct found *list;
    size_t count;
};

static void files_free(struct files *f)
{
    for (size_t i = 0; i < f->count; i++) {
        mem_free(f->list[i].name);
        buf_free(&f->list[i].text);
    }
    mem_free(f->list);
}

static int read_text(const char *path, struct buf *out, struct error *e)
{
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return error_set(e, ERR_BADARG, "cannot read the policy file %s: %s", path,
                         strerror(errno));
    }
    size_t n = 1;
    while (n > 0 && out->len <= REQUEST_BYTES_MAX && buf_reserve(out, 65536)) {
        n = fread(out->data + out->len, 1, out->cap - out->len, in);
        out->len += n;
    }
    bool bad = ferror(in) != 0 || out->failed;
    (void)fclose(in);
    if (bad || out->len > REQUEST_BYTES_MAX) {
        return error_set(e, ERR_BADARG, "cannot read the policy file %s whole (at most %d bytes)",
                         path, REQUEST_BYTES_MAX);
    }
    return 0;
}

static bool has(const struct files *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->list[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int add(struct files *f, const char *path, const char *name, struct error *e)
{
    if (f->count == POLICY_FILES_MAX) {
        error_set(e, ERR_BADARG, "the policy %s has more than %d files", f->path, POLICY_FILES_MAX);
        error_hint(e, "give a policy a folder of its own");
        return ERR_BADARG;
    }
    f->list = mem_must_realloc(f->list, (f->count + 1) * sizeof *f->list);
    struct found *one = &f->list[f->count];
    one->name = mem_strndup(name, strlen(name));
    buf_init(&one->text);
    if (one->name == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    f->count++;
    return read_text(path, &one->text, e);
}

static bool ends_with(const char *name, const char *end)
{
    size_t a = strlen(name), b = strlen(end);
    return a >= b && strcmp(name + a - b, end) == 0;
}

/* ---- A folder ----------------------------------------------------------------------- */

static int wanted(const struct dirent *d)
{
    return d->d_name[0] != '.' && !ends_with(d->d_name, "_spec.lua");
}

/* `prefix` is "" or ends with a slash. */
static int add_folder(struct files *f, const char *prefix, int depth, struct error *e)
{
    char folder[4096], path[4096], name[1024];
    struct dirent **list;
    struct stat s;
    (void)snprintf(folder, sizeof folder, "%s/%s", f->root, prefix);
    int n = scandir(folder, &list, wanted, alphasort);
    if (n < 0) {
        return error_set(e, ERR_BADARG, "cannot read the policy folder %s: %s", folder,
                         strerror(errno));
    }
    int code = 0;
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "%s%s", prefix, list[i]->d_name);
        int len = snprintf(path, sizeof path, "%s/%s", f->root, name);
        free(list[i]);
        if (code != 0 || len < 0 || (size_t)len >= sizeof path || stat(path, &s) != 0) {
            continue;
        }
        if (S_ISDIR(s.st_mode) && depth < DEPTH_MAX && strlen(name) + 2 < sizeof name) {
            char below[1026];
            (void)snprintf(below, sizeof below, "%s/", name);
            code = add_folder(f, below, depth + 1, e);
        } else if (S_ISREG(s.st_mode) && ends_with(name, ".lua")) {
            code = add(f, path, name, e);
        }
    }
    free(list);
    return code;
}

static int read_folder(struct files *f, struct error *e)
{
    int code = add_folder(f, "", 0, e);
    if (code == 0 && !has(f, "policy.lua")) {
        error_set(e, ERR_BADARG, "the policy folder %s has no policy.lua", f->root);
        error_hint(e, "policy.lua returns policy{ ... }; other files are its modules");
        return ERR_BADARG;
    }
    return code;
}

/* ---- A file and what it requires ------------------------------------------------------ */

/* The module named by a `require` that ends before `at`: its length, 0 when there is none. */
static size_t required_name(const char *at, const char *end, const char **name)
{
    while (at < end && (isspace((unsigned char)*at) || *at == '(')) {
        at++;
    }
    if (at == end || (*at != '"' && *at != '\'')) {
        return 0;
    }
    char quote = *at++;
    *name = at;
    while (at < end && *at != quote && *at != '\n') {
        at++;
    }
    return at < end && *at == quote ? (size_t)(at - *name) : 0;
}

/* Adds the module's file if there is one; a name that is none is told at the load, with the
 * line that asks for it. */
static int add_module(struct files *f, const char *module, size_t len, struct error *e)
{
    char name[256], path[4096];
    struct stat s;
    if (module == NULL || len == 0 || len + 5 > sizeof name ||
        (len > 6 && memcmp(module, "usher.", 6) == 0)) {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        name[i] = module[i];
        if (module[i] == '.') {
            name[i] = '/';
        } else if (!isalnum((unsigned char)module[i]) && module[i] != '_' && module[i] != '-') {
            return 0;
        }
    }
    memcpy(name + len, ".lua", sizeof ".lua");
    int n = snprintf(path, sizeof path, "%s/%s", f->root, name);
    bool there = n > 0 && (size_t)n < sizeof path && stat(path, &s) == 0 && S_ISREG(s.st_mode);
    return there && !has(f, name) ? add(f, path, name, e) : 0;
}

static int add_required(struct files *f, size_t i, struct error *e)
{
    int code = 0;
    const char *at = (const char *)f->list[i].text.data;
    const char *end = at + f->list[i].text.len;
    while (code == 0 && at != NULL && at < end) {
        const char *name = NULL;
        at = memmem(at, (size_t)(end - at), "require", 7);
        if (at != NULL) {
            at += 7;
            size_t len = required_name(at, end, &name); /* before `name` is read */
            code = add_module(f, name, len, e);
        }
    }
    return code;
}

static int read_lone(struct files *f, const char *path, struct error *e)
{
    int code = add(f, path, "policy.lua", e);
    for (size_t i = 0; code == 0 && i < f->count; i++) {
        code = add_required(f, i, e);
    }
    return code;
}

/* ---- Both ------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

static int finish(struct files *f, struct buf *bundle, struct error *e)
{
    qsort(f->list, f->count, sizeof *f->list, by_name);
    policy_bundle_begin(bundle);
    for (size_t i = 0; i < f->count; i++) {
        const struct buf *text = &f->list[i].text;
        policy_bundle_add(bundle, span_of(f->list[i].name),
                          span_make(text->data != NULL ? (const char *)text->data : "", text->len));
    }
    if (bundle->failed) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    if (bundle->len > POLICY_BUNDLE_BYTES_MAX) {
        error_set(e, ERR_BADARG, "the policy %s has %zu bytes, at most %d are deployed", f->path,
                  bundle->len, POLICY_BUNDLE_BYTES_MAX);
        if (f->count > 1) {
            error_hint(e, "give a policy a folder of its own");
        }
        return ERR_BADARG;
    }
    return 0;
}

int policy_files_read(const char *path, struct buf *bundle, struct error *e)
{
    struct stat s;
    if (stat(path, &s) != 0) {
        error_set(e, ERR_BADARG, "cannot read the policy %s: %s", path, strerror(errno));
        error_hint(e, "a policy is a .lua file, or a folder with policy.lua in it");
        return ERR_BADARG;
    }
    const char *slash = strrchr(path, '/');
    char *folder = slash != NULL ? mem_strndup(path, (size_t)(slash - path)) : mem_strndup(".", 1);
    if (folder == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    struct files f = { .path = path, .root = S_ISDIR(s.st_mode) ? path : folder };
    int code = S_ISDIR(s.st_mode) ? read_folder(&f, e) : read_lone(&f, path, e);
    if (code == 0) {
        code = finish(&f, bundle, e);
    }
    files_free(&f);
    mem_free(folder);
    return code;
}
