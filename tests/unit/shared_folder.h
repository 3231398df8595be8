/*
 * One temporary folder for all tests of a program: make_folder and remove_it are its group's setup and teardown. cmocka
 * comes first.
 */
#ifndef DLX_TESTS_SHARED_FOLDER_H
#define DLX_TESTS_SHARED_FOLDER_H

#include "checkpoint_copy.h"

static copy folder;

static int make_folder(void **state)
{
    (void)state;
    folder = new_folder();
    return 0;
}

static int remove_it(void **state)
{
    (void)state;
    remove_copy(&folder);
    return 0;
}

#endif
