/* Small public functions that belong to no room. */
#include <stdlib.h>

#include "diffulex_edge/model.h"

uint32_t dlx_api_version(void)
{
    return DLX_API_VERSION;
}

const char *dlx_version_string(void)
{
    return DLX_VERSION;
}

void dlx_free(void *p)
{
    free(p);
}
