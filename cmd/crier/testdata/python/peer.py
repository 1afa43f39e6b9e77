"""Carries out Python that comes as JSON strings, a line each, and answers each with a
line of JSON: the value of what was an expression, or the error of Crier."""

import base64
import json
import sys
import textwrap

from google.protobuf.message import Message

import crier


def plain(value):
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case Message():
            return {field.name: list(v) if field.label == field.LABEL_REPEATED else v
                    for field, v in value.ListFields()}
    raise TypeError(f"{value!r} does not go into JSON")


def carry_out(source, scope):
    try:
        return eval(compile(source, "<test>", "eval"), scope)
    except SyntaxError:
        exec(compile(textwrap.dedent(source), "<test>", "exec"), scope)


def main():
    scope = {"crier": crier}
    for line in sys.stdin:
        try:
            answer = {"value": carry_out(json.loads(line), scope)}
        except crier.Error as error:
            answer = {"error": error.code.name, "text": str(error), "reason": error.reason}
        print(json.dumps(answer, default=plain), flush=True)


main()
