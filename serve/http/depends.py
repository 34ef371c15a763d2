"""What routes take from the application."""

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from serve.chat import Chat
from serve.http.problems import request_id_of
from serve.services import Services


def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def _chat(request: Request) -> Chat:
    found: Chat = request.app.state.chat
    return found


FromServices: TypeAlias = Annotated[Services, Depends(_services)]
FromChat: TypeAlias = Annotated[Chat, Depends(_chat)]
RequestId: TypeAlias = Annotated[str, Depends(request_id_of)]
