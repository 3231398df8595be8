#include "full/serving.h"

#include "output.h"

#if defined(DLX_HAVE_SERVER)
void dlx_cli_serving(dlx_server_options *o, const dlx_cli_arguments *a, int seats)
{
    o->model_name = dlx_cli_text(a, "model-name");
    o->threads = (int)dlx_cli_int(a, "threads", 0);
    o->cpu = dlx_cli_text(a, "cpu");
    o->pack_cache = dlx_cli_text(a, "pack-cache");
    o->seats = (int)dlx_cli_int(a, "parallel", seats);
    o->kept = (int)dlx_cli_int(a, "keep", 16);
    o->rows = (int)dlx_cli_int(a, "rows", 0);
}
#else
int dlx_cli_no_server(const dlx_cli_arguments *a)
{
    dlx_cli_message("%s is not part of this program: it was built without libmicrohttpd", a->command->name);
    return DLX_CLI_FAILED;
}
#endif
