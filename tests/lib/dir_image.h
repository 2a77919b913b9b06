/* A directory's files in memory, through any struct env: tests damage a copy, look at
 * what a program makes of it, and put the original back. */
#ifndef USHER_TESTS_LIB_DIR_IMAGE_H
#define USHER_TESTS_LIB_DIR_IMAGE_H

#include "base/env.h"

#define DIR_IMAGE_FILES 64

struct dir_image {
    size_t count;
    struct {
        char name[96];
        uint8_t *data;
        size_t len;
    } files[DIR_IMAGE_FILES];
};

void dir_image_load(struct dir_image *im, struct env *env, const char *dir);
/* Makes the directory hold exactly these files, durably. */
void dir_image_store(const struct dir_image *im, struct env *env, const char *dir);
void dir_image_free(struct dir_image *im);
/* Index of the file, or -1. */
int dir_image_find(const struct dir_image *im, const char *name);

#endif
