/* What Swift sees: this library and the adapter of examples/executorch. */
#include "dlx_executorch.h"
