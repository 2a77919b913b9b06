/* See dir_image.h. */
#include "lib/dir_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static void join(char out[512], const char *dir, const char *name)
{
    ASSERT(snprintf(out, 512, "%s/%s", dir, name) < 512);
}

static void add_name(void *arg, const char *name)
{
    struct dir_image *im = arg;
    ASSERT(im->count < DIR_IMAGE_FILES);
    im->files[im->count].data = NULL;
    (void)snprintf(im->files[im->count].name, sizeof im->files[0].name, "%s", name);
    im->count++;
}

void dir_image_load(struct dir_image *im, struct env *env, const char *dir)
{
    const struct env_ops *ops = env->ops;
    im->count = 0;
    ASSERT(ops->list_dir(env, dir, add_name, im, NULL) == 0);
    for (size_t i = 0; i < im->count; i++) {
        char path[512];
        struct env_file *f;
        uint64_t size;
        join(path, dir, im->files[i].name);
        ASSERT(ops->file_open(env, path, ENV_READ, &f, NULL) == 0);
        ASSERT(ops->file_size(f, &size, NULL) == 0);
        im->files[i].data = malloc((size_t)size + 1);
        ASSERT(ops->file_read(f, 0, im->files[i].data, (size_t)size, &im->files[i].len, NULL) == 0);
        ops->file_close(f);
    }
}

struct removal {
    struct env *env;
    const char *dir;
    const struct dir_image *keep;
    char names[DIR_IMAGE_FILES][96];
    size_t count;
};

static void note_extra(void *arg, const char *name)
{
    struct removal *r = arg;
    if (dir_image_find(r->keep, name) < 0) {
        ASSERT(r->count < DIR_IMAGE_FILES);
        (void)snprintf(r->names[r->count++], sizeof r->names[0], "%s", name);
    }
}

void dir_image_store(const struct dir_image *im, struct env *env, const char *dir)
{
    const struct env_ops *ops = env->ops;
    struct removal r = { .env = env, .dir = dir, .keep = im };
    char path[512];
    ASSERT(ops->make_dir(env, dir, NULL) == 0);
    ASSERT(ops->list_dir(env, dir, note_extra, &r, NULL) == 0);
    for (size_t i = 0; i < r.count; i++) {
        join(path, dir, r.names[i]);
        ASSERT(ops->remove(env, path, NULL) == 0);
    }
    for (size_t i = 0; i < im->count; i++) {
        struct env_file *f;
        join(path, dir, im->files[i].name);
        ASSERT(ops->file_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f, NULL) == 0);
        ASSERT(ops->file_write(f, 0, im->files[i].data, im->files[i].len, NULL) == 0);
        ASSERT(ops->file_sync(f, NULL) == 0);
        ops->file_close(f);
    }
    ASSERT(ops->sync_dir(env, dir, NULL) == 0);
}

void dir_image_free(struct dir_image *im)
{
    for (size_t i = 0; i < im->count; i++) {
        free(im->files[i].data);
    }
    im->count = 0;
}

int dir_image_find(const struct dir_image *im, const char *name)
{
    for (size_t i = 0; i < im->count; i++) {
        if (strcmp(im->files[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}
