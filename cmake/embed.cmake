# cmake -DINPUT=<file> -DOUTPUT=<text> -P embed.cmake
# The bytes of a file as the elements of an array, for #include.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "${bytes}\n")
