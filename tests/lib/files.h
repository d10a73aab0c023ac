/* files.h - whole files of an env, as tests look at them and damage them.
 *
 * All of these fail the test when the env does. */
#ifndef KEVO_TESTS_FILES_H
#define KEVO_TESTS_FILES_H

#include "engine/base/buf.h"
#include "engine/base/env.h"

struct buf files_read(struct env *env, const char *path); /* buf_release() */
/* The file has these bytes then, and is made if it is missing. */
void files_write(struct env *env, const char *path, slice bytes);
void files_flip(struct env *env, const char *path, uint64_t offset, uint8_t mask);
void files_cut(struct env *env, const char *path, uint64_t size);
uint64_t files_size(struct env *env, const char *path);
bool files_exist(struct env *env, const char *path);

#endif
