/* See policy_files.h. Files are taken in the order of their names, so that the same folder
 * makes the same bundle everywhere. */
#include "net/policy_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "policy/policy.h"

static int read_file(const char *path, struct buf *out, struct error *e)
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

static int add_file(const char *path, const char *name, struct buf *bundle, struct error *e)
{
    struct buf text = BUF_INIT;
    int code = read_file(path, &text, e);
    if (code == 0) {
        policy_bundle_add(bundle, span_of(name), span_make((const char *)text.data, text.len));
    }
    buf_free(&text);
    return code;
}

static bool ends_with(const char *name, const char *end)
{
    size_t a = strlen(name), b = strlen(end);
    return a >= b && strcmp(name + a - b, end) == 0;
}

static int is_module(const struct dirent *d)
{
    return d->d_name[0] != '.' && ends_with(d->d_name, ".lua") &&
           !ends_with(d->d_name, "_spec.lua");
}

static int add_folder(const char *path, struct buf *bundle, struct error *e)
{
    struct dirent **list;
    int n = scandir(path, &list, is_module, alphasort);
    if (n < 0) {
        return error_set(e, ERR_BADARG, "cannot read the policy folder %s: %s", path,
                         strerror(errno));
    }
    int code = 0;
    bool has_policy = false;
    for (int i = 0; i < n; i++) {
        char file[4096];
        (void)snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name);
        has_policy = has_policy || strcmp(list[i]->d_name, "policy.lua") == 0;
        code = code != 0 ? code : add_file(file, list[i]->d_name, bundle, e);
        free(list[i]);
    }
    free(list);
    if (code == 0 && !has_policy) {
        error_set(e, ERR_BADARG, "the policy folder %s has no policy.lua", path);
        error_hint(e, "policy.lua returns policy{ ... }; other files are its modules");
        return ERR_BADARG;
    }
    return code;
}

int policy_files_read(const char *path, struct buf *bundle, struct error *e)
{
    struct stat s;
    if (stat(path, &s) != 0) {
        error_set(e, ERR_BADARG, "cannot read the policy %s: %s", path, strerror(errno));
        error_hint(e, "`policy` in config.lua names a .lua file or a folder with policy.lua");
        return ERR_BADARG;
    }
    policy_bundle_begin(bundle);
    int code =
        S_ISDIR(s.st_mode) ? add_folder(path, bundle, e) : add_file(path, "policy.lua", bundle, e);
    if (code == 0 && bundle->failed) {
        code = error_set(e, ERR_NOMEM, "out of memory");
    }
    return code;
}
