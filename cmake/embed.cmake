# Makes one C file of the files of a folder: cmake -DFOLDER=server/page -DOUTPUT=page_files.c -P embed.cmake
# index.html is the path "/", every other file "/page/NAME". The same files give the same bytes.
set(types ".html=text/html" ".css=text/css" ".js=text/javascript" ".svg=image/svg+xml")
file(GLOB names RELATIVE ${FOLDER} ${FOLDER}/*)
list(SORT names)
set(arrays "")
set(rows "")
foreach(name IN LISTS names)
  string(REGEX MATCH "\\.[^.]*$" ending ${name})
  set(type "")
  foreach(t IN LISTS types)
    if(t MATCHES "^\\${ending}=(.*)$")
      set(type "${CMAKE_MATCH_1}; charset=utf-8")
    endif()
  endforeach()
  if(NOT type)
    message(FATAL_ERROR "${FOLDER}/${name}: no type is known for '${ending}'; add it to cmake/embed.cmake")
  endif()
  set(path "/page/${name}")
  if(name STREQUAL "index.html")
    set(path "/")
  endif()
  file(READ ${FOLDER}/${name} hex HEX)
  file(SHA256 ${FOLDER}/${name} digest)
  string(SUBSTRING ${digest} 0 16 digest)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n"
         bytes "${bytes}")
  string(MAKE_C_IDENTIFIER ${name} id)
  string(APPEND arrays "static const unsigned char ${id}[] = {\n${bytes}\n};\n")
  string(APPEND rows "    {\"${path}\", \"${type}\", \"\\\"${digest}\\\"\", ${id}, sizeof ${id}},\n")
endforeach()
file(WRITE ${OUTPUT} "/* Made by cmake/embed.cmake. */
#include \"page.h\"

${arrays}
const dlx_srv_page_file dlx_srv_page_files[] = {
${rows}};
const size_t dlx_srv_page_n_files = sizeof dlx_srv_page_files / sizeof *dlx_srv_page_files;
")
